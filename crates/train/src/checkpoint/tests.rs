//! Round trips, rotation, and every kind of damage.

use hearth_run::checkpoint::{Identity, STATE_FILE, SUMS_FILE, TENSORS_FILE};

use super::*;

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
}
