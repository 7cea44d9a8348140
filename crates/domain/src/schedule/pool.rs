//! Capacity: what is shared, what is reserved, and what is free of both.

use super::{JobView, Limits, Reservation, Share};

/// A part of the capacity.
#[derive(Clone, Debug)]
struct Pool {
    trainers: usize,
    memory_bytes: u64,
    trainers_free: usize,
    memory_free_bytes: u64,
}

impl Pool {
    fn new(trainers: usize, memory_bytes: u64) -> Self {
        Self { trainers, memory_bytes, trainers_free: trainers, memory_free_bytes: memory_bytes }
    }

    fn take(&mut self, memory_bytes: u64) {
        self.trainers_free = self.trainers_free.saturating_sub(1);
        self.memory_free_bytes = self.memory_free_bytes.saturating_sub(memory_bytes);
    }
}

/// All capacity, with what is free of it.
pub(super) struct Pools<'a> {
    limits: &'a Limits,
    shared: Pool,
    /// Beside `limits.reservations`.
    reserved: Vec<Pool>,
    /// Of the whole machine, when other trainers live: see [`Pools::fits`].
    machine_free_bytes: Option<u64>,
}

impl<'a> Pools<'a> {
    /// Without what these jobs take.
    pub(super) fn new(limits: &'a Limits, busy: &[&JobView], machine_free_bytes: Option<u64>) -> Self {
        let reserved: Vec<Pool> =
            limits.reservations.iter().map(|one| Pool::new(one.trainers, one.memory_bytes)).collect();
        let trainers = reserved.iter().map(|pool| pool.trainers).sum();
        let memory_bytes = reserved.iter().map(|pool| pool.memory_bytes).sum();
        let shared = Pool::new(
            limits.capacity.saturating_sub(trainers),
            limits.memory_bytes.saturating_sub(memory_bytes),
        );
        // With none alive a job starts whatever is free: the trainer looks itself, and nothing would change by waiting.
        let machine_free_bytes = machine_free_bytes.filter(|_| !busy.is_empty());
        let mut pools = Self { limits, shared, reserved, machine_free_bytes };
        for job in busy {
            let place = pools.reservation(job).filter(|_| job.share.is_reserved);
            let memory_bytes = job.share.memory_bytes.max(job.memory_bytes);
            pools.pool(place).take(memory_bytes);
        }
        pools
    }

    /// Which reservation a job may use.
    fn reservation(&self, job: &JobView) -> Option<usize> {
        let is_its =
            |one: &Reservation| one.account == job.account && Some(&one.id) == job.reservation.as_ref();
        self.limits.reservations.iter().position(is_its)
    }

    fn pool(&mut self, place: Option<usize>) -> &mut Pool {
        match place {
            Some(index) => &mut self.reserved[index],
            None => &mut self.shared,
        }
    }

    /// The most memory that a job could get if nothing else ran; `None` if nobody knows.
    pub(super) fn memory_max_bytes(&self, job: &JobView) -> Option<u64> {
        if self.limits.memory_bytes == 0 {
            return None;
        }
        let own = self.reservation(job).map_or(0, |index| self.reserved[index].memory_bytes);
        let shared = if self.shared.trainers == 0 { 0 } else { self.shared.memory_bytes };
        Some(own.max(shared))
    }

    /// Whether another trainer may live at all.
    pub(super) fn have_room(&self) -> bool {
        self.shared.trainers_free > 0 || self.reserved.iter().any(|pool| pool.trainers_free > 0)
    }

    fn fits(&self, pool: &Pool, job: &JobView) -> bool {
        let knows = self.limits.memory_bytes > 0;
        pool.trainers_free > 0
            && (!knows || job.memory_bytes <= pool.memory_free_bytes)
            && self.machine_free_bytes.is_none_or(|free| job.memory_bytes <= free)
    }

    /// Gives a job its share, of reserved capacity first; of shared capacity only if that is open. `None` if it does not
    /// fit now.
    pub(super) fn place(&mut self, job: &JobView, is_shared_open: bool) -> Option<Share> {
        let place = self.reservation(job).filter(|&index| self.fits(&self.reserved[index], job));
        if place.is_none() && !(is_shared_open && self.fits(&self.shared, job)) {
            return None;
        }
        let knows = self.limits.memory_bytes > 0;
        let pool = self.pool(place);
        // An even part, so that the next one finds room too; more if it needs more.
        let even = pool.memory_free_bytes / pool.trainers_free as u64;
        let memory_bytes = if knows { even.max(job.memory_bytes) } else { 0 };
        pool.take(memory_bytes);
        if let Some(free) = &mut self.machine_free_bytes {
            *free = free.saturating_sub(job.memory_bytes);
        }
        Some(Share { is_reserved: place.is_some(), memory_bytes, threads: self.limits.threads_per_trainer() })
    }
}
