//! Round trips, rotation, and every kind of damage.

use hearth_run::checkpoint::{Identity, STATE_FILE, SUMS_FILE, TENSORS_FILE};

use super::*;
use crate::digest;

fn scratch(name: &str) -> Checkpoints {
    let dir = std::env::temp_dir().join(format!("hearth-checkpoint-{name}-{}", std::process::id()));
    let _ = fs::remove_dir_all(&dir);
    open(&dir)
}

fn open(run: &Path) -> Checkpoints {
    Checkpoints::open(&RunDir::new(run)).unwrap()
}

fn checkpoint(step: u64) -> Checkpoint {
    let identity = Identity {
        job_sha256: "j".to_owned(),
        base_sha256: "b".to_owned(),
        data_sha256: "d".to_owned(),
        samples_sha256: "s".to_owned(),
        warm_start_sha256: None,
    };
    let tensor = |name: &str, offset: f32| TensorState {
        name: name.to_owned(),
        shape: vec![2, 3],
        weight: (0..6).map(|i| i as f32 * 0.1 + offset).collect(),
        m: vec![f32::MIN_POSITIVE / 4.0; 6],
        v: vec![-0.0; 6],
    };
    let progress = Progress { step, train_loss: Some(0.1 + 0.2), ..Progress::default() };
    Checkpoint {
        state: State {
            version: VERSION,
            progress,
            seed: u64::MAX,
            metrics_bytes: 17,
            backend: "b".to_owned(),
            identity,
        },
        tensors: vec![tensor("x.lora_A.weight", 1.0), tensor("x.lora_B.weight", 2.0)],
    }
}

fn newest_step(checkpoints: &Checkpoints) -> (Option<u64>, usize) {
    let (found, problems) = checkpoints.newest_good().unwrap();
    (found.map(|c| c.state.progress.step), problems.len())
}

#[test]
fn the_last_two_are_kept_and_come_back_bit_for_bit() {
    let checkpoints = scratch("rotate");
    assert_eq!(newest_step(&checkpoints), (None, 0));
    for step in [2, 4, 6] {
        checkpoints.save(&checkpoint(step)).unwrap();
    }
    assert_eq!(checkpoints.steps().unwrap(), [4, 6]);
    let (found, problems) = checkpoints.newest_good().unwrap();
    let (found, expected) = (found.unwrap(), checkpoint(6));
    assert!(problems.is_empty());
    assert_eq!(found, expected);
    assert_eq!(found.tensors[0].v[0].to_bits(), (-0.0f32).to_bits());
}

#[test]
fn a_flipped_bit_anywhere_or_a_missing_file_falls_back() {
    for file in [STATE_FILE, TENSORS_FILE, SUMS_FILE] {
        let checkpoints = scratch("damage");
        checkpoints.save(&checkpoint(4)).unwrap();
        checkpoints.save(&checkpoint(6)).unwrap();
        let path = checkpoints.path(6).join(file);
        let whole = fs::read(&path).unwrap();
        for at in [0, whole.len() / 2, whole.len() - 1] {
            let mut bytes = whole.clone();
            bytes[at] ^= 1;
            fs::write(&path, bytes).unwrap();
            assert_eq!(newest_step(&checkpoints), (Some(4), 1), "{file} at {at}");
        }
        fs::write(&path, &whole[..whole.len() / 2]).unwrap();
        assert_eq!(newest_step(&checkpoints), (Some(4), 1), "{file} cut");
        fs::remove_file(&path).unwrap();
        assert_eq!(newest_step(&checkpoints), (Some(4), 1), "{file} gone");
        fs::write(&path, &whole).unwrap();
        assert_eq!(newest_step(&checkpoints), (Some(6), 0), "{file} restored");
    }
}

#[test]
fn saving_after_a_fall_back_drops_what_lies_ahead() {
    let checkpoints = scratch("ahead");
    checkpoints.save(&checkpoint(4)).unwrap();
    checkpoints.save(&checkpoint(6)).unwrap();
    fs::write(checkpoints.path(6).join(TENSORS_FILE), b"").unwrap();
    checkpoints.save(&checkpoint(5)).unwrap();
    assert_eq!(checkpoints.steps().unwrap(), [4, 5]);
}

#[test]
fn non_finite_numbers_leave_the_last_good_one_alone() {
    let checkpoints = scratch("nan");
    checkpoints.save(&checkpoint(4)).unwrap();
    let mut bad = checkpoint(6);
    bad.tensors[1].m[5] = f32::NAN;
    let error = checkpoints.save(&bad).unwrap_err();
    assert!(matches!(error, TrainError::NonFinite { step: 6, .. }), "{error}");
    assert_eq!(newest_step(&checkpoints), (Some(4), 0));
}

#[test]
fn unfinished_ones_are_removed_and_a_foreign_version_is_refused() {
    let checkpoints = scratch("unfinished");
    checkpoints.save(&checkpoint(4)).unwrap();
    let leftover = checkpoints.dir.join(format!("{UNFINISHED_PREFIX}step-00000006"));
    fs::create_dir(&leftover).unwrap();
    let checkpoints = open(checkpoints.dir.parent().unwrap());
    assert!(!leftover.exists());
    let mut foreign = checkpoint(6);
    foreign.state.version = VERSION + 1;
    checkpoints.save(&foreign).unwrap();
    assert!(matches!(checkpoints.newest_good().unwrap_err(), TrainError::OtherRun { .. }));
    // A field that this version does not know is no damage then.
    let path = checkpoints.path(6);
    let state = fs::read_to_string(path.join(STATE_FILE)).unwrap();
    fs::write(path.join(STATE_FILE), state.replacen('{', "{\"heads\": 3,", 1)).unwrap();
    let sum = |name: &str| format!("{}  {name}\n", digest::file(&path.join(name)).unwrap());
    fs::write(path.join(SUMS_FILE), sum(STATE_FILE) + &sum(TENSORS_FILE)).unwrap();
    assert!(matches!(checkpoints.newest_good().unwrap_err(), TrainError::OtherRun { .. }));
}

/// One that names a best one.
fn of(step: u64, best_step: u64) -> Checkpoint {
    let mut checkpoint = checkpoint(step);
    let patience = Patience { best_step, best_loss: 0.1 + 0.2, gain_loss: 1.0, without_gain: 1 };
    checkpoint.state.progress.patience = Some(patience);
    checkpoint
}

#[test]
fn the_best_one_of_those_that_are_kept_is_kept() {
    let checkpoints = scratch("best");
    for (step, best_step, kept) in [
        (2, 2, &[2][..]),
        (4, 2, &[2, 4]),
        (6, 2, &[2, 4, 6]),
        (8, 2, &[2, 6, 8]),
        // The one to fall back to still names the old one.
        (10, 10, &[2, 8, 10]),
        (12, 10, &[10, 12]),
    ] {
        checkpoints.save(&of(step, best_step)).unwrap();
        assert_eq!(checkpoints.steps().unwrap(), kept);
    }
    assert_eq!(checkpoints.newest_good().unwrap().0.unwrap(), of(12, 10));
    // Without the best one nothing that names it is of use.
    fs::remove_file(checkpoints.path(10).join(STATE_FILE)).unwrap();
    assert_eq!(newest_step(&checkpoints), (None, 2));
}

#[test]
fn a_damaged_best_one_leaves_those_that_stay_from_before_it() {
    let checkpoints = scratch("stay-best").keeping(5);
    for (step, best_step) in [(8, 8), (10, 8), (12, 12), (15, 12), (20, 12)] {
        checkpoints.save(&of(step, best_step)).unwrap();
    }
    // Nothing new names 8, but 10 stays and is of no use without it.
    assert_eq!(checkpoints.steps().unwrap(), [8, 10, 12, 15, 20]);
    assert_eq!(newest_step(&checkpoints), (Some(20), 0));
    fs::write(checkpoints.path(12).join(TENSORS_FILE), b"").unwrap();
    assert_eq!(newest_step(&checkpoints), (Some(10), 3));
}

#[test]
fn those_of_an_interval_stay() {
    let checkpoints = scratch("stay").keeping(3);
    for step in 1..=10 {
        checkpoints.save(&checkpoint(step)).unwrap();
    }
    assert_eq!(checkpoints.steps().unwrap(), [3, 6, 9, 10]);
    assert_eq!([0, 1, 3].map(|step| checkpoints.stays(step)), [false, false, true]);
    // A run that went on from an older one takes back what came after it.
    checkpoints.save(&checkpoint(7)).unwrap();
    assert_eq!(checkpoints.steps().unwrap(), [3, 6, 7]);
}
