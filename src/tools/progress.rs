//! Processes many items on several threads, with a progress bar.

use indicatif::ProgressBar;
use indicatif::ProgressStyle;
use std::sync::Mutex;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;

/// The results of `work` in the order of the items. The bar is drawn on standard error if that is a terminal.
pub fn each<T: Sync, R: Send>(
    what: &'static str,
    items: &[T],
    threads: usize,
    work: impl Fn(&T) -> R + Sync,
) -> Vec<R> {
    let bar = ProgressBar::new(items.len() as u64);
    let style = ProgressStyle::with_template("{msg} {wide_bar} {pos}/{len}, {eta} left");
    if let Ok(style) = style {
        bar.set_style(style);
    }
    bar.set_message(what);
    let next = AtomicUsize::new(0);
    let done = Mutex::new(Vec::with_capacity(items.len()));
    let go_on = || {
        while let (at, Some(item)) = take(items, &next) {
            let result = work(item);
            done.lock()
                .unwrap_or_else(|dead| dead.into_inner())
                .push((at, result));
            bar.inc(1);
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..threads.clamp(1, items.len().max(1)) {
            scope.spawn(go_on);
        }
    });
    bar.finish_and_clear();
    let mut done = done.into_inner().unwrap_or_else(|dead| dead.into_inner());
    done.sort_unstable_by_key(|(at, _)| *at);
    done.into_iter().map(|(_, result)| result).collect()
}

/// The next item with its index, if any.
fn take<'a, T>(items: &'a [T], next: &AtomicUsize) -> (usize, Option<&'a T>) {
    let at = next.fetch_add(1, Ordering::Relaxed);
    (at, items.get(at))
}
