//! Streams of examples: mapped, shuffled, gathered into batches, prepared ahead on another thread.
//!
//! ```
//! use tilewise_nn::data::Pipeline;
//!
//! let squares = Pipeline::of((0..10).collect()).map(|n: i32| Ok(n * n)).shuffle(7).batch(4, false);
//! let epoch: Vec<Vec<i32>> = squares.prefetch(2).epoch(0).collect::<Result<_, _>>()?;
//! assert_eq!(epoch.iter().map(Vec::len).collect::<Vec<_>>(), [4, 4, 2]);
//! assert_eq!(epoch.iter().flatten().sum::<i32>(), 285);
//! # Ok::<(), tilewise_nn::Error>(())
//! ```

use std::panic::resume_unwind;
use std::sync::mpsc::{Receiver, sync_channel};
use std::sync::{Arc, OnceLock};
use std::thread::{JoinHandle, spawn};

use crate::error::{Error, Result};
use crate::random::Random;

/// The examples of one epoch. After an error there are no more.
pub type Examples<V> = Box<dyn Iterator<Item = Result<V>> + Send>;

/// A source of examples that can be gone through any number of times. What is done to them is written
/// down here and done when an [`epoch`](Self::epoch) is gone through, example by example.
pub struct Pipeline<V> {
    make: Arc<dyn Fn(u64) -> Examples<V> + Send + Sync>,
}

impl<V> Clone for Pipeline<V> {
    fn clone(&self) -> Self {
        Self { make: Arc::clone(&self.make) }
    }
}

impl<V: Send + 'static> Pipeline<V> {
    /// A pipeline over what `make` gives for the number of an epoch.
    pub fn new(make: impl Fn(u64) -> Examples<V> + Send + Sync + 'static) -> Self {
        Self { make: Arc::new(make) }
    }

    /// A pipeline over examples in memory.
    pub fn of(examples: Vec<V>) -> Self
    where
        V: Clone + Sync,
    {
        let examples = Arc::new(examples);
        Self::new(move |_| {
            let examples = Arc::clone(&examples);
            Box::new((0..examples.len()).map(move |index| Ok(examples[index].clone())))
        })
    }

    /// Goes through epoch number `epoch`: every example once, unless asked otherwise.
    pub fn epoch(&self, epoch: u64) -> Examples<V> {
        let mut source = Some((self.make)(epoch));
        Box::new(std::iter::from_fn(move || {
            let next = source.as_mut()?.next();
            if !matches!(next, Some(Ok(_))) {
                source = None;
            }
            next
        }))
    }

    /// Does something to every example.
    pub fn map<W: Send + 'static>(
        self,
        change: impl Fn(V) -> Result<W> + Send + Sync + 'static,
    ) -> Pipeline<W> {
        let change = Arc::new(change);
        Pipeline::new(move |epoch| {
            let change = Arc::clone(&change);
            Box::new(self.epoch(epoch).map(move |example| change(example?)))
        })
    }

    /// Puts the examples of an epoch into an order that depends on `seed` and epoch alone; all orders
    /// are equally likely. It holds a whole epoch in memory: shuffle names of files rather than images,
    /// and examples rather than batches.
    #[must_use]
    pub fn shuffle(self, seed: u64) -> Self {
        Self::new(move |epoch| {
            let source = self.clone();
            let mut shuffled = None;
            // Nothing is read before the first example is asked for.
            Box::new(std::iter::from_fn(move || {
                let all = shuffled.get_or_insert_with(|| {
                    match source.epoch(epoch).collect::<Result<Vec<V>>>() {
                        Ok(mut all) => {
                            Random::new(seed).stream(epoch).shuffle(&mut all);
                            all.into_iter().map(Ok).collect::<Vec<_>>().into_iter()
                        }
                        Err(error) => vec![Err(error)].into_iter(),
                    }
                });
                all.next()
            }))
        })
    }

    /// Gathers `size` examples at a time. The last batch is smaller where they do not come out even, or
    /// left out with `drop_last`. With a size of 0, the epoch is an error.
    pub fn batch(self, size: usize, drop_last: bool) -> Pipeline<Vec<V>> {
        Pipeline::new(move |epoch| {
            if size == 0 {
                let error = Error::argument("batch size", "at least 1", size);
                return Box::new(std::iter::once(Err(error)));
            }
            let mut source = self.epoch(epoch);
            Box::new(std::iter::from_fn(move || {
                let batch: Result<Vec<V>> = source.by_ref().take(size).collect();
                match batch {
                    Ok(batch) if batch.is_empty() || (drop_last && batch.len() < size) => None,
                    other => Some(other),
                }
            }))
        })
    }

    /// The first `count` of every epoch.
    #[must_use]
    pub fn take(self, count: usize) -> Self {
        Self::new(move |epoch| Box::new(self.epoch(epoch).take(count)))
    }

    /// Makes `times` epochs one, each shuffled in its own way.
    #[must_use]
    pub fn repeat(self, times: u64) -> Self {
        Self::new(move |epoch| {
            let source = self.clone();
            let first = epoch.saturating_mul(times);
            Box::new(
                (first..first.saturating_add(times)).flat_map(move |epoch| source.epoch(epoch)),
            )
        })
    }

    /// Keeps the examples of the first epoch that is gone through to its end, for all later ones: what
    /// comes before, such as reading and decoding, is done once. Shuffle after it.
    #[must_use]
    pub fn cache(self) -> Self
    where
        V: Clone + Sync,
    {
        let kept: Arc<OnceLock<Vec<V>>> = Arc::new(OnceLock::new());
        Self::new(move |epoch| {
            if kept.get().is_some() {
                let kept = Arc::clone(&kept);
                let mut index = 0;
                return Box::new(std::iter::from_fn(move || {
                    index += 1;
                    kept.get()?.get(index - 1).cloned().map(Ok)
                }));
            }
            let (kept, mut source, mut seen) = (Arc::clone(&kept), self.epoch(epoch), Vec::new());
            let mut whole = true;
            Box::new(std::iter::from_fn(move || match source.next() {
                Some(Ok(example)) => {
                    seen.push(example.clone());
                    Some(Ok(example))
                }
                Some(error) => {
                    whole = false;
                    Some(error)
                }
                None => {
                    // Another epoch may have ended at the same time; the examples are the same.
                    if whole {
                        let _ = kept.set(std::mem::take(&mut seen));
                    }
                    None
                }
            }))
        })
    }

    /// Prepares up to `ahead` examples on a thread of its own while the last ones are used. The thread
    /// ends with the epoch or when nobody wants more; a panic in it is one here.
    #[must_use]
    pub fn prefetch(self, ahead: usize) -> Self {
        Self::new(move |epoch| {
            let source = self.clone();
            let (send, receive) = sync_channel(ahead.max(1));
            let thread = spawn(move || {
                // Fails where nobody listens any more.
                source.epoch(epoch).try_for_each(|example| send.send(example)).unwrap_or(());
            });
            Box::new(Prefetched { receive: Some(receive), thread: Some(thread) })
        })
    }
}

/// The receiving end of a thread that prepares examples.
struct Prefetched<V> {
    receive: Option<Receiver<Result<V>>>,
    thread: Option<JoinHandle<()>>,
}

impl<V> Iterator for Prefetched<V> {
    type Item = Result<V>;

    fn next(&mut self) -> Option<Self::Item> {
        if let Ok(example) = self.receive.as_ref()?.recv() {
            return Some(example);
        }
        self.receive = None;
        if let Err(panic) = self.thread.take()?.join() {
            resume_unwind(panic);
        }
        None
    }
}

impl<V> Drop for Prefetched<V> {
    fn drop(&mut self) {
        // The thread stops at its next example when nobody listens; its panic would be the second.
        self.receive = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
