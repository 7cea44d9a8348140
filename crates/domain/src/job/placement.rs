//! Where and when a job runs: nodes, region, accelerators, and the class that it is scheduled in.

use serde::{Deserialize, Serialize};

use super::check::Checker;
use super::{JobFacts, JobRequest};
use crate::code::Code;

/// The only purpose besides none.
pub const PURPOSE_PILOT: &str = "pilot";

/// What a client asks for, in the API's words. Empty and zero mean "not given".
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PlacementRequest {
    /// Machines.
    pub nodes: i32,
    /// Name of a region.
    pub region: String,
    /// Name of a kind of accelerator.
    pub accelerator_type: String,
    /// How many of it.
    pub accelerator_count: i32,
    /// `purpose` says that it is a pilot job.
    pub is_pilot: bool,
    /// The same as a text: `pilot`.
    pub use_purpose: String,
    /// Reserved capacity first.
    pub use_reservation: bool,
    /// Id or full name of a reservation.
    pub reservation_target: String,
}

/// What this installation has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PlacementFacts {
    /// Names of its regions; the first is that of jobs that name none.
    pub regions: Vec<String>,
    /// Ids of the reservations of the job's account.
    pub reservations: Vec<String>,
}

/// Where and when a job runs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Placement {
    /// Name of the region; empty if the installation has none.
    pub region: String,
    /// It is a pilot job.
    pub is_pilot: bool,
    /// Id of the reservation of its account that it uses first.
    pub reservation: Option<String>,
}

impl Placement {
    /// The class of jobs of an account that wait in one line.
    pub fn lane(&self) -> String {
        let purpose = if self.is_pilot { PURPOSE_PILOT } else { "" };
        format!("{purpose}/{}", self.reservation.as_deref().unwrap_or_default())
    }
}

/// Checks it against what this installation has.
pub(super) fn placement(check: &mut Checker, request: &JobRequest, facts: &JobFacts) -> Placement {
    let (wanted, facts, account) = (&request.placement, &facts.placement, &facts.account);
    if wanted.nodes < 0 {
        check.add(Code::InvalidArgument, "nodes", format!("{} is below 0", wanted.nodes));
    } else if wanted.nodes > 1 {
        check.add(Code::Unimplemented, "nodes", "this server trains on one node");
    }
    let region = match wanted.region.as_str() {
        "" => facts.regions.first().cloned().unwrap_or_default(),
        region => {
            if !facts.regions.iter().any(|known| known == region) {
                let known = match facts.regions.as_slice() {
                    [] => "it has none: leave the field out".to_owned(),
                    known => format!("it has {}", known.join(", ")),
                };
                let message = format!("this installation has no region {region}; {known}");
                check.add(Code::FailedPrecondition, "region", message);
            }
            region.to_owned()
        }
    };
    accelerators(check, wanted);
    let is_pilot = match wanted.use_purpose.as_str() {
        "" => wanted.is_pilot,
        PURPOSE_PILOT => true,
        other => {
            let message = format!("there is no purpose {other:?}; there is {PURPOSE_PILOT:?}");
            check.add(Code::InvalidArgument, "usePurpose", message);
            false
        }
    };
    let reservation = reservation(check, wanted, facts, account.as_str());
    Placement { region, is_pilot, reservation }
}

fn accelerators(check: &mut Checker, wanted: &PlacementRequest) {
    const NONE: &str = "this server has no accelerators, it trains on CPUs; leave the field out";
    if !wanted.accelerator_type.is_empty() {
        check.add(Code::FailedPrecondition, "acceleratorType", NONE);
    }
    if wanted.accelerator_count < 0 {
        let message = format!("{} is below 0", wanted.accelerator_count);
        check.add(Code::InvalidArgument, "acceleratorCount", message);
    } else if wanted.accelerator_count > 0 {
        check.add(Code::FailedPrecondition, "acceleratorCount", NONE);
    }
}

/// The reservation that is meant: the one that is named, or else the account's first.
fn reservation(
    check: &mut Checker,
    wanted: &PlacementRequest,
    facts: &PlacementFacts,
    account: &str,
) -> Option<String> {
    let target = wanted.reservation_target.as_str();
    if target.is_empty() && !wanted.use_reservation {
        return None;
    }
    let known = match facts.reservations.as_slice() {
        [] => format!("account {account} has none; the operator makes them (hearth serve --reservation)"),
        known => format!("account {account} has {}", known.join(", ")),
    };
    if target.is_empty() {
        let first = facts.reservations.first().cloned();
        if first.is_none() {
            let message = format!("there is no reservation to use: {known}");
            check.add(Code::FailedPrecondition, "useReservation", message);
        }
        return first;
    }
    let own = format!("accounts/{account}/reservations/");
    let id = target.strip_prefix(&own).unwrap_or(target);
    if facts.reservations.iter().any(|known| known == id) {
        return Some(id.to_owned());
    }
    let message = format!("there is no reservation {target}: {known}");
    check.add(Code::FailedPrecondition, "reservationTarget", message);
    None
}
