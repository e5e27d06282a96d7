//! Streams of examples.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tilewise_nn::data::Pipeline;
use tilewise_nn::prelude::*;

fn numbers(count: usize) -> Pipeline<usize> {
    Pipeline::of((0..count).collect())
}

fn all<V: Send + 'static>(pipeline: &Pipeline<V>, epoch: u64) -> Vec<V> {
    pipeline.epoch(epoch).collect::<Result<_>>().unwrap()
}

#[test]
fn d12_every_sample_comes_once_per_epoch_in_every_arrangement() {
    let stages: [fn(Pipeline<usize>) -> Pipeline<usize>; 5] = [
        |p| p.shuffle(3),
        |p| p.shuffle(3).prefetch(2),
        |p| p.cache().shuffle(3),
        |p| p.prefetch(1).map(Ok).cache(),
        |p| p.prefetch(100).shuffle(4).prefetch(1),
    ];
    for (number, stage) in stages.into_iter().enumerate() {
        let pipeline = stage(numbers(103));
        for epoch in 0..3 {
            let mut seen = all(&pipeline, epoch);
            assert!(number == 3 || !seen.is_sorted(), "{number} is not shuffled");
            seen.sort_unstable();
            assert_eq!(seen, (0..103).collect::<Vec<_>>(), "{number}, epoch {epoch}");
        }
    }
}

#[test]
fn d12_orders_depend_on_seed_and_epoch_alone() {
    let pipeline = numbers(50).shuffle(1);
    assert_eq!(all(&pipeline, 4), all(&pipeline.clone().prefetch(3), 4));
    assert_ne!(all(&pipeline, 4), all(&pipeline, 5));
    assert_ne!(all(&pipeline, 4), all(&numbers(50).shuffle(2), 4));
    // Two epochs in one are two different orders, and later ones go on.
    let twice = pipeline.clone().repeat(2);
    assert_eq!(all(&twice, 1), [all(&pipeline, 2), all(&pipeline, 3)].concat());
}

#[test]
fn d12_batches_take_and_drop() {
    let sizes = |drop_last| -> Vec<usize> {
        all(&numbers(10).batch(4, drop_last), 0).iter().map(Vec::len).collect()
    };
    assert_eq!((sizes(false), sizes(true)), (vec![4, 4, 2], vec![4, 4]));
    assert_eq!(all(&numbers(8).batch(4, false).take(1), 0), [[0, 1, 2, 3]]);
    assert!(all(&numbers(0).batch(4, false).shuffle(1).prefetch(1), 0).is_empty());
    let error = numbers(3).batch(0, false).epoch(0).next().unwrap().unwrap_err().to_string();
    assert_eq!(error, "batch size: expected at least 1, got 0");
}

#[test]
fn d12_a_cache_reads_once_but_only_what_was_whole() {
    let reads = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&reads);
    let pipeline = numbers(5).map(move |n| {
        count.fetch_add(1, Ordering::Relaxed);
        Ok(n)
    });
    let pipeline = pipeline.cache();
    assert_eq!(pipeline.epoch(0).take(3).count(), 3);
    assert_eq!(all(&pipeline, 0), all(&pipeline, 1));
    assert_eq!(reads.load(Ordering::Relaxed), 8, "three, then five, then none");
}

#[test]
fn d12_errors_end_an_epoch_wherever_they_come_from() {
    let broken = numbers(10).map(|n| if n == 6 { Err(Error::failed("bad file")) } else { Ok(n) });
    for pipeline in [
        broken.clone(),
        broken.clone().prefetch(2),
        broken.clone().cache(),
        broken.clone().shuffle(1),
    ] {
        let outcomes: Vec<Result<usize>> = pipeline.epoch(0).collect();
        let (last, before) = outcomes.split_last().unwrap();
        assert!(before.iter().all(Result::is_ok), "after the error there was more");
        assert_eq!(last.as_ref().unwrap_err().to_string(), "bad file");
    }
    let batches: Vec<_> = broken.batch(4, false).epoch(0).collect();
    assert!(batches.len() == 2 && batches[1].is_err());
}

#[test]
fn d12_prefetching_works_ahead_stops_when_dropped_and_passes_panics_on() {
    let made = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&made);
    let pipeline = numbers(1_000_000).map(move |n| {
        count.fetch_add(1, Ordering::SeqCst);
        Ok(n)
    });
    let mut epoch = pipeline.prefetch(4).epoch(0);
    assert_eq!(epoch.next().unwrap().unwrap(), 0);
    while made.load(Ordering::SeqCst) < 5 {
        std::thread::yield_now();
    }
    drop(epoch);
    // One in hand, four waiting, one on its way, and one taken in the meantime.
    assert!(made.load(Ordering::SeqCst) <= 7);
    let panicking =
        numbers(3).map(|n| if n == 1 { panic!("of the map") } else { Ok(n) }).prefetch(1);
    let mut epoch = panicking.epoch(0);
    assert_eq!(epoch.next().unwrap().unwrap(), 0);
    let panic = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| epoch.next()));
    assert_eq!(panic.unwrap_err().downcast_ref::<&str>(), Some(&"of the map"));
}
