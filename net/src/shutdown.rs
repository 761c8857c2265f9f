//! Stopping tasks cleanly: one cancellation signal and the set of tasks that listen to it.
//!
//! A `Shutdown` is a cheap handle. Whoever starts tasks clones it (same signal, same set) or takes a `child`
//! (stopped with its parent or earlier, on its own). `finish` raises the signal and waits until every task spawned
//! through the handle or through its children has returned.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use tokio_util::task::TaskTracker;

/// A cancellation signal together with the tasks that obey it.
#[derive(Clone, Debug)]
pub struct Shutdown {
    token: CancellationToken,
    /// Own set of tasks first, then those of the ancestors: a task counts in all of them.
    trackers: Arc<[TaskTracker]>,
}

/// Tasks were still running when the time given to [`Shutdown::finish`] was over.
#[derive(Debug, thiserror::Error)]
#[error("{running} task(s) did not stop within {waited:?}")]
#[non_exhaustive]
pub struct Unfinished {
    /// How many tasks are left.
    pub running: usize,
    /// How long they were waited for.
    pub waited: Duration,
}

impl Default for Shutdown {
    fn default() -> Self {
        Self::new()
    }
}

impl Shutdown {
    /// A fresh signal with no tasks.
    pub fn new() -> Self {
        Self { token: CancellationToken::new(), trackers: Arc::new([TaskTracker::new()]) }
    }

    /// A signal of its own that is also raised when this one is. Its tasks count as tasks of this one too.
    pub fn child(&self) -> Self {
        let trackers = std::iter::once(TaskTracker::new()).chain(self.trackers.iter().cloned()).collect();
        Self { token: self.token.child_token(), trackers }
    }

    /// Spawns a task that `finish` waits for. The task itself must listen to the signal.
    pub fn spawn<F>(&self, future: F) -> JoinHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        let tokens: Vec<_> = self.trackers.iter().map(TaskTracker::token).collect();
        tokio::spawn(async move {
            // Held, not used: their drop, on return or on panic, takes the task out of the sets.
            let _tokens = tokens;
            future.await
        })
    }

    /// Raises the signal; returns at once.
    pub fn begin(&self) {
        self.token.cancel();
    }

    /// Whether the signal has been raised.
    pub fn is_stopping(&self) -> bool {
        self.token.is_cancelled()
    }

    /// Waits for the signal.
    pub fn stopping(&self) -> WaitForCancellationFutureOwned {
        self.token.clone().cancelled_owned()
    }

    /// Runs a future until it is done or the signal is raised, whichever is first; `None` when stopped.
    pub async fn until<F: Future>(&self, future: F) -> Option<F::Output> {
        self.token.run_until_cancelled(future).await
    }

    /// Raises the signal and waits for all tasks, at most `wait`.
    pub async fn finish(&self, wait: Duration) -> Result<(), Unfinished> {
        self.begin();
        let own = &self.trackers[0];
        own.close();
        tokio::time::timeout(wait, own.wait()).await.map_err(|_elapsed| Unfinished { running: own.len(), waited: wait })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn children_stop_alone_and_parents_wait_for_them() {
        let parent = Shutdown::new();
        let child = parent.child();
        let signal = child.clone();
        child.spawn(async move { signal.stopping().await });
        let signal = parent.clone();
        parent.spawn(async move { signal.stopping().await });
        child.finish(Duration::from_secs(1)).await.unwrap();
        assert!(child.is_stopping() && !parent.is_stopping());
        parent.finish(Duration::from_secs(1)).await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_deaf_task_is_reported() {
        let parent = Shutdown::new();
        let child = parent.child();
        child.spawn(std::future::pending::<()>());
        let unfinished = parent.finish(Duration::from_secs(3)).await.unwrap_err();
        assert_eq!(unfinished.running, 1);
        assert!(child.is_stopping(), "the signal reaches the child");
    }

    #[tokio::test(start_paused = true)]
    async fn until_gives_up_when_stopped() {
        let shutdown = Shutdown::new();
        assert_eq!(shutdown.until(async { 7 }).await, Some(7));
        shutdown.begin();
        assert_eq!(shutdown.until(std::future::pending::<()>()).await, None);
    }
}
