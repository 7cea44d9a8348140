//! A fixed set of worker threads and a loop over numbered tasks.
//!
//! Tasks are taken in order from one counter by whoever is free. Which thread runs a task never shows in its
//! result, since a task writes only its own outputs. The calling thread works too, so a pool of 1 has no
//! workers. Waiting spins for some microseconds before it sleeps: a decoding step has hundreds of short loops.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use crate::error::KernelError;
use crate::options::MAX_THREADS;

/// Rounds of waiting with a spin hint before a worker sleeps or a caller yields: some tens of microseconds.
const SPIN_ROUNDS: usize = 3000;

/// The loop body of a run in progress. The lifetime is erased; see the safety note in [`Pool::run`].
type Body = &'static (dyn Fn(usize) + Sync);

#[derive(Clone, Copy)]
struct Job {
    body: Body,
    tasks: usize,
}

struct State {
    job: Option<Job>,
    sleepers: usize,
    stop: bool,
}

struct Shared {
    state: Mutex<State>,
    wake: Condvar,
    /// Grows with every run; workers watch it while they spin.
    epoch: AtomicUsize,
    /// Number of the next task.
    next: AtomicUsize,
    /// Workers inside the current run.
    active: AtomicUsize,
    panicked: AtomicBool,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn work(&self, job: Job) {
        loop {
            let task = self.next.fetch_add(1, Ordering::Relaxed);
            if task >= job.tasks {
                return;
            }
            (job.body)(task);
        }
    }

    /// Waits for a run that this worker has not seen; `None` when the pool ends.
    fn wait(&self, seen: &mut usize) -> Option<Job> {
        for _ in 0..SPIN_ROUNDS {
            if self.epoch.load(Ordering::Acquire) != *seen {
                break;
            }
            std::hint::spin_loop();
        }
        let mut state = self.state();
        loop {
            if state.stop {
                return None;
            }
            let epoch = self.epoch.load(Ordering::Acquire);
            if epoch != *seen {
                *seen = epoch;
                if let Some(job) = state.job {
                    self.active.fetch_add(1, Ordering::AcqRel);
                    return Some(job);
                }
            }
            state.sleepers += 1;
            state = self.wake.wait(state).unwrap_or_else(PoisonError::into_inner);
            state.sleepers -= 1;
        }
    }

    fn worker(&self) {
        let mut seen = 0;
        while let Some(job) = self.wait(&mut seen) {
            if catch_unwind(AssertUnwindSafe(|| self.work(job))).is_err() {
                self.panicked.store(true, Ordering::Release);
            }
            self.active.fetch_sub(1, Ordering::AcqRel);
        }
    }
}

/// Persistent workers. Runs of several callers follow one another.
pub struct Pool {
    shared: Arc<Shared>,
    turn: Mutex<()>,
    workers: Vec<JoinHandle<()>>,
}

impl Pool {
    /// `threads` workers, the caller of each run included; 0 means one per available core.
    pub fn new(threads: usize) -> Result<Self, KernelError> {
        let threads = match threads {
            0 => std::thread::available_parallelism().map_or(1, usize::from).min(MAX_THREADS),
            n => n,
        };
        if threads > MAX_THREADS {
            return Err(KernelError::TooManyThreads { threads, max: MAX_THREADS });
        }
        let shared = Arc::new(Shared {
            state: Mutex::new(State { job: None, sleepers: 0, stop: false }),
            wake: Condvar::new(),
            epoch: AtomicUsize::new(0),
            next: AtomicUsize::new(0),
            active: AtomicUsize::new(0),
            panicked: AtomicBool::new(false),
        });
        let mut pool = Self { shared, turn: Mutex::new(()), workers: Vec::new() };
        for i in 1..threads {
            let shared = Arc::clone(&pool.shared);
            let worker = std::thread::Builder::new()
                .name(format!("kernels-{i}"))
                .spawn(move || shared.worker())
                .map_err(KernelError::Spawn)?;
            pool.workers.push(worker);
        }
        Ok(pool)
    }

    /// Threads that a run may use.
    pub fn threads(&self) -> usize {
        self.workers.len() + 1
    }

    /// Calls `body(i)` once for each `i` below `tasks`, on all threads, and returns when all are done.
    /// A panic of a task is raised again here. `body` must not call `run` of the same pool.
    pub fn run(&self, tasks: usize, body: impl Fn(usize) + Sync) {
        if self.workers.is_empty() || tasks <= 1 {
            (0..tasks).for_each(body);
            return;
        }
        let turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let body: &(dyn Fn(usize) + Sync) = &body;
        // SAFETY: only the lifetime changes. Workers get the reference under the lock while `job` is set and
        // count themselves in `active`; below, `job` is unset and `active` is awaited to be 0 before this
        // function returns or unwinds, so no worker holds the reference after `body` ends.
        let body: Body = unsafe { std::mem::transmute::<&(dyn Fn(usize) + Sync), Body>(body) };
        let job = Job { body, tasks };
        let shared = &*self.shared;
        {
            let mut state = shared.state();
            shared.next.store(0, Ordering::Relaxed);
            state.job = Some(job);
            shared.epoch.fetch_add(1, Ordering::AcqRel);
            if state.sleepers > 0 {
                shared.wake.notify_all();
            }
        }
        let own = catch_unwind(AssertUnwindSafe(|| shared.work(job)));
        shared.state().job = None;
        let mut rounds = 0;
        while shared.active.load(Ordering::Acquire) != 0 {
            rounds += 1;
            if rounds < SPIN_ROUNDS { std::hint::spin_loop() } else { std::thread::yield_now() }
        }
        let panicked = shared.panicked.swap(false, Ordering::AcqRel);
        drop(turn);
        if let Err(panic) = own {
            resume_unwind(panic);
        }
        assert!(!panicked, "a kernel task panicked on a worker thread");
    }

    /// Calls `body(item)` once for each item, on all threads.
    pub fn for_each<T: Send>(&self, items: impl IntoIterator<Item = T>, body: impl Fn(T) + Sync) {
        let items: Vec<Mutex<Option<T>>> = items.into_iter().map(|item| Mutex::new(Some(item))).collect();
        self.run(items.len(), |i| {
            let item = items[i].lock().unwrap_or_else(PoisonError::into_inner).take();
            body(item.expect("each task runs once"));
        });
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.shared.state().stop = true;
        self.shared.epoch.fetch_add(1, Ordering::AcqRel);
        self.shared.wake.notify_all();
        for worker in self.workers.drain(..) {
            // A worker catches the panics of its tasks, so this cannot fail.
            let _ = worker.join();
        }
    }
}

#[cfg(test)]
mod tests {
    //! Every task once, panics raised, callers in turn.

    use super::*;

    #[test]
    fn every_task_runs_once() {
        for threads in [1, 2, 3, 8] {
            let pool = Pool::new(threads).expect("threads");
            assert_eq!(pool.threads(), threads);
            for tasks in [0, 1, 2, 7, 1000] {
                for _ in 0..20 {
                    let counts: Vec<AtomicUsize> = (0..tasks).map(|_| AtomicUsize::new(0)).collect();
                    pool.run(tasks, |i| {
                        counts[i].fetch_add(1, Ordering::Relaxed);
                    });
                    assert!(counts.iter().all(|c| c.load(Ordering::Relaxed) == 1));
                }
            }
        }
    }

    #[test]
    fn several_callers() {
        let pool = Pool::new(3).expect("threads");
        std::thread::scope(|s| {
            for _ in 0..4 {
                s.spawn(|| {
                    for _ in 0..50 {
                        let sum = AtomicUsize::new(0);
                        pool.run(100, |i| {
                            sum.fetch_add(i, Ordering::Relaxed);
                        });
                        assert_eq!(sum.into_inner(), 4950);
                    }
                });
            }
        });
    }

    #[test]
    fn a_panic_reaches_the_caller_and_leaves_the_pool_usable() {
        let pool = Pool::new(2).expect("threads");
        for bad in [0, 50, 99] {
            let result = catch_unwind(AssertUnwindSafe(|| pool.run(100, |i| assert!(i != bad))));
            assert!(result.is_err());
            pool.run(100, |_| {});
        }
    }

    #[test]
    fn absurd_numbers_of_threads_are_refused() {
        assert!(matches!(Pool::new(MAX_THREADS + 1), Err(KernelError::TooManyThreads { .. })));
    }
}
