//! Properties of plans.

use proptest::prelude::*;

use super::*;

fn settings() -> impl Strategy<Value = Settings> {
    let size =
        prop_oneof![(1usize..200).prop_map(BatchSize::Tokens), (1usize..20).prop_map(BatchSize::Samples)];
    (proptest::option::of(any::<u64>()), size, 1usize..100, 0usize..20).prop_map(
        |(shuffle_seed, batch_size, micro_batch_tokens, shared_tokens)| Settings {
            shuffle_seed,
            batch_size,
            micro_batch_tokens,
            shared_tokens,
        },
    )
}

proptest! {
    #[test]
    fn every_sample_once_within_the_limits(
        lengths in proptest::collection::vec(1usize..120, 0..80),
        settings in settings(),
        epoch in 0u64..5,
    ) {
        let lengths: Vec<usize> = lengths.iter().map(|length| length + settings.shared_tokens).collect();
        let plan = Plan::new(lengths.clone(), settings);
        let batches = plan.epoch(epoch);
        prop_assert_eq!(&batches, &Plan::new(lengths.clone(), settings).epoch(epoch));
        prop_assert_eq!(batches.len(), plan.batch_count(epoch));
        let mut seen: Vec<usize> = batches.iter().flat_map(Batch::samples).collect();
        seen.sort_unstable();
        prop_assert_eq!(seen, (0..lengths.len()).collect::<Vec<_>>());
        let tokens = |samples: &[usize]| samples.iter().map(|&s| lengths[s]).sum::<usize>();
        for (index, batch) in batches.iter().enumerate() {
            let samples: Vec<usize> = batch.samples().collect();
            match settings.batch_size {
                BatchSize::Tokens(limit) => prop_assert!(samples.len() == 1 || tokens(&samples) <= limit),
                BatchSize::Samples(limit) => {
                    prop_assert!(samples.len() == limit || index + 1 == batches.len() && samples.len() < limit);
                }
            }
            for micro in &batch.micro_batches {
                prop_assert!(!micro.is_empty());
                let rows = tokens(micro) - (micro.len() - 1) * settings.shared_tokens;
                prop_assert!(micro.len() == 1 || rows <= settings.micro_batch_tokens);
            }
        }
    }
}

#[test]
fn epochs_differ_and_the_order_never_changes() {
    let settings = Settings {
        shuffle_seed: Some(42),
        batch_size: BatchSize::Samples(8),
        micro_batch_tokens: 100,
        shared_tokens: 0,
    };
    let plan = Plan::new(vec![1; 8], settings);
    let order = |epoch: u64| plan.epoch(epoch)[0].samples().collect::<Vec<_>>();
    // A change of these numbers changes every adapter that is trained from here on.
    assert_eq!((order(0), order(1)), (vec![4, 7, 0, 1, 3, 2, 6, 5], vec![7, 5, 1, 3, 2, 6, 4, 0]));
}

#[test]
fn next_fit_batches_and_best_fit_micro_batches() {
    let settings = Settings {
        shuffle_seed: None,
        batch_size: BatchSize::Tokens(10),
        micro_batch_tokens: 6,
        shared_tokens: 0,
    };
    let plan = Plan::new(vec![2, 5, 3, 1, 11, 4], settings);
    let micro: Vec<_> = plan.epoch(0).into_iter().map(|batch| batch.micro_batches).collect();
    assert_eq!(micro, [vec![vec![1], vec![2, 0]], vec![vec![3]], vec![vec![4]], vec![vec![5]]]);
}
