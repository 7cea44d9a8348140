//! How jobs are scheduled: the flags of `hearth serve` that say it.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use hearth_domain::AccountId;
use hearth_domain::schedule::{Limits, PILOT_HEAD_START_MS, Reservation, WAIT_MAX_MS};
use hearth_server::limits::TRAINERS_MAX;
use hearth_server::{Executor, JobsConfig, is_region};

/// Cores for each trainer, unless the operator says how many trainers may live at once.
const CORES_PER_TRAINER: usize = 4;
/// Part of the machine's memory that trainers may take together, in percent, unless the operator says otherwise.
const MEMORY_PERCENT: u64 = 80;

const MS_PER_SECOND: i64 = 1000;
const MS_PER_HOUR: i64 = 3600 * MS_PER_SECOND;

/// How jobs are scheduled.
#[derive(clap::Args, Debug)]
#[command(next_help_heading = "Jobs")]
pub struct JobArgs {
    /// Jobs that train at the same time; with 0 all wait [default: one for each four cores, and at least one]
    ///
    /// Each gets the same part of the cores. A job starts when one of these places is free and its memory too.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(..=i64::from(TRAINERS_MAX)))]
    trainers: Option<u16>,
    /// Memory of all jobs that train, in bytes or with a unit such as 8GiB [default: 80 % of the machine's]
    #[arg(long, value_name = "SIZE", value_parser = crate::commands::train::parse_size)]
    trainer_memory: Option<u64>,
    /// How long a trainer may give no sign of life; then it is killed, and its job goes on with another [default: 60]
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(3..=86400))]
    trainer_silence: Option<u64>,
    /// Places and memory that are kept for jobs of an account that ask for them (useReservation, reservationTarget):
    /// ACCOUNT/ID=PLACES:SIZE, of those above; may be repeated
    #[arg(long, value_name = "RESERVATION", value_parser = parse_reservation)]
    reservation: Vec<Reservation>,
    /// Pilot jobs (purpose PURPOSE_PILOT) that train at the same time [default: as many as there are places]
    #[arg(long, value_name = "N")]
    max_pilots: Option<u16>,
    /// A pilot job goes before other jobs of its account that were made at most so long before it [default: 3600]
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u32))]
    pilot_head_start: Option<u32>,
    /// Longest time that a job waits for a place; then it is EXPIRED [default: 720]
    #[arg(long, value_name = "HOURS|off", value_parser = parse_wait)]
    job_wait_max: Option<Wait>,
    /// A region that jobs may ask for, and what runs its jobs: NAME=local; the first is that of jobs that name none; may
    /// be repeated
    #[arg(long, value_name = "NAME=EXECUTOR", value_parser = parse_region)]
    region: Vec<(String, Executor)>,
}

/// Milliseconds, or for ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Wait(Option<i64>);

impl JobArgs {
    /// Sets what jobs may have.
    pub fn apply(self, jobs: &mut JobsConfig) -> Result<()> {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let capacity = self.trainers.map_or((cores / CORES_PER_TRAINER).max(1), usize::from);
        let memory_bytes = self
            .trainer_memory
            .or_else(|| Some(hearth_train::memory::total_bytes()? / 100 * MEMORY_PERCENT))
            .unwrap_or(0);
        check_reservations(&self.reservation, capacity, memory_bytes)?;
        let head_start_ms = |seconds| i64::from(seconds) * MS_PER_SECOND;
        jobs.limits = Limits {
            capacity,
            memory_bytes,
            threads: cores,
            reservations: self.reservation,
            pilots_max: self.max_pilots.map_or(usize::MAX, usize::from),
            pilot_head_start_ms: self.pilot_head_start.map_or(PILOT_HEAD_START_MS, head_start_ms),
            wait_max_ms: self.job_wait_max.map_or(Some(WAIT_MAX_MS), |wait| wait.0),
            ..jobs.limits.clone()
        };
        if let Some(seconds) = self.trainer_silence {
            jobs.silence_max = Duration::from_secs(seconds);
        }
        jobs.regions = self.region;
        jobs.free_memory = hearth_train::memory::available_bytes;
        Ok(())
    }
}

/// Something is left for jobs that have no reservation, or they would wait for ever.
fn check_reservations(reservations: &[Reservation], capacity: usize, memory_bytes: u64) -> Result<()> {
    for (index, one) in reservations.iter().enumerate() {
        if reservations[..index].iter().any(|other| (&other.account, &other.id) == (&one.account, &one.id)) {
            bail!("--reservation: {} is given twice", one.name());
        }
    }
    let places: usize = reservations.iter().map(|one| one.trainers).sum();
    let reserved = reservations.iter().map(|one| one.memory_bytes).fold(0, u64::saturating_add);
    if !reservations.is_empty() && places >= capacity {
        bail!(
            "--reservation: {places} places are kept and there are {capacity} (--trainers); leave one to all others"
        );
    }
    if reserved > 0 && reserved >= memory_bytes {
        bail!(
            "--reservation: {} MiB are kept and there are {} MiB (--trainer-memory); leave some to all others",
            reserved >> 20,
            memory_bytes >> 20
        );
    }
    Ok(())
}

fn parse_reservation(text: &str) -> Result<Reservation> {
    const FORM: &str = "write ACCOUNT/ID=PLACES:SIZE, for example acme/night=1:8GiB";
    let (name, what) = text.split_once('=').context(FORM)?;
    let (account, id) = name.split_once('/').context(FORM)?;
    let (places, size) = what.split_once(':').context(FORM)?;
    let is_id = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if id.is_empty() || !id.chars().all(is_id) {
        bail!("{id:?} is no id: use lower-case letters, digits and hyphens");
    }
    let trainers = places.parse().ok().filter(|&places: &usize| places > 0).context(FORM)?;
    let memory_bytes = crate::commands::train::parse_size(size).map_err(anyhow::Error::msg)?;
    Ok(Reservation { account: AccountId::new(account)?, id: id.to_owned(), trainers, memory_bytes })
}

fn parse_wait(text: &str) -> Result<Wait> {
    if text == "off" {
        return Ok(Wait(None));
    }
    match text.parse::<u32>() {
        Ok(hours) if hours > 0 => Ok(Wait(Some(i64::from(hours) * MS_PER_HOUR))),
        _ => bail!("{text} is not a number of hours above zero; for ever is \"off\""),
    }
}

fn parse_region(text: &str) -> Result<(String, Executor)> {
    let (name, executor) =
        text.split_once('=').context("write NAME=EXECUTOR, for example US_IOWA_1=local")?;
    if !is_region(name) {
        bail!("{name} is none of the API's regions, for example US_IOWA_1");
    }
    let executor = Executor::from_name(executor)
        .with_context(|| format!("there is no executor {executor:?}; there is \"local\""))?;
    Ok((name.to_owned(), executor))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reservations_are_read() {
        let read = parse_reservation("acme/night=2:8GiB").unwrap();
        assert_eq!((read.name().as_str(), read.trainers), ("accounts/acme/reservations/night", 2));
        assert_eq!(read.memory_bytes, 8 << 30);
        for bad in ["acme", "acme/night", "acme/night=2", "night=1:1GiB", "acme/night=0:1GiB", "acme/=1:1GiB"]
        {
            assert!(parse_reservation(bad).is_err(), "{bad}");
        }
        let kept = [read];
        assert!(check_reservations(&kept, 3, 9 << 30).is_ok());
        assert!(check_reservations(&kept, 2, 9 << 30).is_err(), "no place is left");
        assert!(check_reservations(&kept, 3, 8 << 30).is_err(), "no memory is left");
        assert!(check_reservations(&[kept[0].clone(), kept[0].clone()], 9, 99 << 30).is_err(), "twice");
        assert!(check_reservations(&[], 0, 0).is_ok());
    }

    #[test]
    fn waits_and_regions_are_read() {
        assert_eq!(parse_wait("2").unwrap(), Wait(Some(7_200_000)));
        assert_eq!(parse_wait("off").unwrap(), Wait(None));
        assert!(parse_wait("0").is_err() && parse_wait("soon").is_err());
        assert_eq!(parse_region("US_IOWA_1=local").unwrap(), ("US_IOWA_1".to_owned(), Executor::Local));
        for bad in ["US_IOWA_1", "US_IOWA_1=slurm", "MARS_1=local", "REGION_UNSPECIFIED=local"] {
            assert!(parse_region(bad).is_err(), "{bad}");
        }
    }
}
