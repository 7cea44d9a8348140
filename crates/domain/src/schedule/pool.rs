//! Capacity: what is shared, what is reserved, and what is free of both.

use super::{JobView, Limits, Reservation, Share, Snapshot};

/// Time in which a trainer comes to take the memory that it needs. Until then the machine has it free, and it is promised.
const MEMORY_GROWS_MS: i64 = 60_000;

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
    /// Of the whole machine, less what trainers that have just started will take.
    machine_free_bytes: Option<u64>,
    /// No trainer lives. The first one starts whatever is free of the machine: it looks itself, and nothing would change
    /// by waiting.
    is_idle: bool,
}

impl<'a> Pools<'a> {
    /// Without what these jobs take.
    pub(super) fn new(limits: &'a Limits, snapshot: &Snapshot, busy: &[&JobView], now_ms: i64) -> Self {
        let reserved: Vec<Pool> =
            limits.reservations.iter().map(|one| Pool::new(one.trainers, one.memory_bytes)).collect();
        let trainers = reserved.iter().map(|pool| pool.trainers).sum();
        let memory_bytes = reserved.iter().map(|pool| pool.memory_bytes).sum();
        let shared = Pool::new(
            limits.capacity.saturating_sub(trainers),
            limits.memory_bytes.saturating_sub(memory_bytes),
        );
        let machine_free_bytes = snapshot.free_memory_bytes;
        let mut pools = Self { limits, shared, reserved, machine_free_bytes, is_idle: busy.is_empty() };
        for job in busy {
            let place = pools.reservation(job).filter(|_| job.share.is_reserved);
            let memory_bytes = job.share.memory_bytes.max(job.memory_bytes);
            pools.pool(place).take(memory_bytes);
            let age_ms = job.active_since_ms.map(|since_ms| now_ms.saturating_sub(since_ms));
            if age_ms.is_some_and(|age_ms| (0..MEMORY_GROWS_MS).contains(&age_ms)) {
                let needed = pools.needed_bytes(pools.pool_of(place), job);
                pools.take_of_machine(needed);
            }
        }
        pools
    }

    /// Which reservation a job may use.
    fn reservation(&self, job: &JobView) -> Option<usize> {
        let is_its =
            |one: &Reservation| one.account == job.account && Some(&one.id) == job.reservation.as_ref();
        self.limits.reservations.iter().position(is_its)
    }

    fn pool_of(&self, place: Option<usize>) -> &Pool {
        place.map_or(&self.shared, |index| &self.reserved[index])
    }

    fn take_of_machine(&mut self, memory_bytes: u64) {
        if let Some(free) = &mut self.machine_free_bytes {
            *free = free.saturating_sub(memory_bytes);
        }
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

    /// Memory that a job must find. One of which nobody knows it must find an even part of the whole.
    fn needed_bytes(&self, pool: &Pool, job: &JobView) -> u64 {
        match (job.memory_bytes, self.limits.memory_bytes) {
            // At least a byte: a trainer that is given none would take what it finds.
            (0, 1..) => (pool.memory_bytes / pool.trainers.max(1) as u64).max(1),
            (known, _) => known,
        }
    }

    fn fits(&self, pool: &Pool, job: &JobView) -> bool {
        let needed = self.needed_bytes(pool, job);
        let knows = self.limits.memory_bytes > 0;
        pool.trainers_free > 0
            && (!knows || needed <= pool.memory_free_bytes)
            && (self.is_idle || self.machine_free_bytes.is_none_or(|free| needed <= free))
    }

    /// Gives a job its share, of reserved capacity first; of shared capacity only if that is open. `None` if it does not
    /// fit now.
    pub(super) fn place(&mut self, job: &JobView, is_shared_open: bool) -> Option<Share> {
        let place = self.reservation(job).filter(|&index| self.fits(&self.reserved[index], job));
        if place.is_none() && !(is_shared_open && self.fits(&self.shared, job)) {
            return None;
        }
        let knows = self.limits.memory_bytes > 0;
        let needed = self.needed_bytes(self.pool_of(place), job);
        let pool = self.pool(place);
        // An even part, so that the next one finds room too; more if it needs more.
        let even = pool.memory_free_bytes / pool.trainers_free as u64;
        let memory_bytes = if knows { even.max(needed) } else { 0 };
        pool.take(memory_bytes);
        self.take_of_machine(needed);
        self.is_idle = false;
        Some(Share { is_reserved: place.is_some(), memory_bytes, threads: self.limits.threads_per_trainer() })
    }
}
