//! Single flight: concurrent requests for the same value compute it once; each waits as a future.
//!
//! The waiters poll the shared computation. When the last waiter is gone it is dropped and its scope cancelled. All waiters
//! get its error, which is not cached.

use crate::error::Error;
use crate::error::Result;
use crate::work::Scope;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use futures_util::future::Shared;
use futures_util::future::WeakShared;
use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;

type SharedResult<T> = std::result::Result<T, Arc<Error>>;
type Maker<T> = BoxFuture<'static, SharedResult<T>>;

/// Computations in progress by key.
pub struct Flights<K, T: Clone> {
    flying: Arc<Mutex<HashMap<K, Flight<T>>>>,
}

struct Flight<T: Clone> {
    scope: Scope,
    shared: WeakShared<Maker<T>>,
}

impl<K, T: Clone> Default for Flights<K, T> {
    fn default() -> Self {
        Flights {
            flying: Arc::default(),
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Removes a completed flight, and cancels its work if no request waits for it.
struct FlightGuard<K: Hash + Eq, T: Clone> {
    flying: Arc<Mutex<HashMap<K, Flight<T>>>>,
    key: K,
    scope: Scope,
}

impl<K: Hash + Eq, T: Clone> Drop for FlightGuard<K, T> {
    fn drop(&mut self) {
        self.scope.cancel();
        let mut flying = lock(&self.flying);
        let own = |flight: &Flight<T>| flight.scope.is(&self.scope);
        let ended = flying
            .get(&self.key)
            .is_some_and(own)
            .then(|| flying.remove(&self.key));
        drop(flying);
        drop(ended);
    }
}

impl<K, T> Flights<K, T>
where
    K: Hash + Eq + Clone + Send + 'static,
    T: Clone + Send + Sync + 'static,
{
    /// The result of `make`, run in its own scope, or of another request's computation for the same key.
    pub async fn get_or_make<F>(
        &self,
        key: &K,
        scope: &Scope,
        make: impl FnOnce(Scope) -> F + Send + 'static,
    ) -> Result<T>
    where
        F: Future<Output = Result<T>> + Send + 'static,
    {
        let (shared, flight) = self.join(key, make);
        let outcome = shared.await;
        scope.add_all(&flight);
        outcome.map_err(|error| Error::clone(&error))
    }

    fn join<F>(&self, key: &K, make: impl FnOnce(Scope) -> F + Send + 'static) -> (Shared<Maker<T>>, Scope)
    where
        F: Future<Output = Result<T>> + Send + 'static,
    {
        let mut flying = lock(&self.flying);
        if let Some(flight) = flying.get(key)
            && let Some(shared) = flight.shared.upgrade()
        {
            return (shared, flight.scope.clone());
        }
        let scope = Scope::default();
        let guard = FlightGuard {
            flying: Arc::clone(&self.flying),
            key: key.clone(),
            scope: scope.clone(),
        };
        let own = scope.clone();
        let maker: Maker<T> = async move {
            let outcome = make(own).await;
            drop(guard);
            outcome.map_err(Arc::new)
        }
        .boxed();
        let shared = maker.shared();
        if let Some(weak) = shared.downgrade() {
            let flight = Flight {
                scope: scope.clone(),
                shared: weak,
            };
            flying.insert(key.clone(), flight);
        }
        (shared, scope)
    }

    /// The number of computations in progress.
    pub fn count(&self) -> usize {
        lock(&self.flying).len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::work::scope::block_on;
    use std::sync::atomic::AtomicUsize;
    use std::sync::atomic::Ordering;
    use tokio::sync::oneshot;

    #[test]
    fn one_request_computes_while_the_others_wait() {
        let flights = Flights::<u32, u32>::default();
        let made = Arc::new(AtomicUsize::new(0));
        let scope = Scope::default();
        let (end, ended) = oneshot::channel::<u32>();
        let gate = Arc::new(Mutex::new(Some(ended)));
        let ask = || {
            let (made, gate) = (made.clone(), lock(&gate).take());
            flights.get_or_make(&1, &scope, move |_| async move {
                made.fetch_add(1, Ordering::Relaxed);
                match gate {
                    Some(ended) => ended.await.map_err(|_| Error::Busy),
                    None => Ok(8),
                }
            })
        };
        let mut all = Box::pin(futures_util::future::join_all((0..5).map(|_| ask())));
        assert!(all.as_mut().now_or_never().is_none());
        end.send(7).unwrap();
        let all: Vec<u32> = block_on(all).into_iter().map(|one| one.unwrap()).collect();
        assert_eq!((all, made.load(Ordering::Relaxed)), (vec![7; 5], 1));
        assert_eq!(flights.count(), 0);
        // the result is not cached
        assert_eq!(block_on(ask()).unwrap(), 8);
    }

    #[test]
    fn it_is_cancelled_when_the_last_waiter_is_gone_and_not_before() {
        let flights = Flights::<u32, u32>::default();
        let scope = Scope::default();
        let (end, ended) = oneshot::channel::<u32>();
        let seen: Arc<Mutex<Option<Scope>>> = Arc::default();
        let note = seen.clone();
        let mut first = Box::pin(flights.get_or_make(&1, &scope, move |own| async move {
            *lock(&note) = Some(own);
            ended.await.map_err(|_| Error::Busy)
        }));
        assert!(first.as_mut().now_or_never().is_none());
        let mut second = Box::pin(flights.get_or_make(&1, &scope, |_| async { Ok(0) }));
        assert!(second.as_mut().now_or_never().is_none());
        drop(first);
        let flight = lock(&seen).clone().unwrap();
        assert!(!flight.cancelled());
        drop(second);
        assert!(flight.cancelled() && end.is_closed());
        assert_eq!(flights.count(), 0);
    }

    #[test]
    fn a_failure_reaches_all_waiters_and_is_forgotten() {
        let flights = Flights::<u32, u32>::default();
        let scope = Scope::default();
        let fail = || {
            flights.get_or_make(&1, &scope, |_| async {
                tokio::task::yield_now().await;
                Err(Error::TooLarge("x".into()))
            })
        };
        let all = block_on(futures_util::future::join_all([fail(), fail()]));
        assert!(all.iter().all(|one| matches!(one, Err(Error::TooLarge(_)))));
        let made = block_on(flights.get_or_make(&1, &scope, |_| async { Ok(1) }));
        assert_eq!(made.unwrap(), 1);
    }
}
