use futures_util::FutureExt;
use futures_util::future::join_all;

use super::*;

const PATIENCE: Duration = Duration::from_millis(100);

#[tokio::test(start_paused = true)]
async fn the_line_is_short_in_number_and_in_time() {
    let bulkhead = Arc::<Bulkhead>::default();
    let held: Vec<_> = join_all((0..4).map(|_| bulkhead.enter(4, PATIENCE))).await;
    assert!(held.iter().all(Result::is_ok));
    let begun = Instant::now();
    let waiting: Vec<_> = (0..9)
        .map(|_| {
            let bulkhead = bulkhead.clone();
            tokio::spawn(async move { bulkhead.enter(4, PATIENCE).await })
        })
        .collect();
    tokio::task::yield_now().await;
    assert_eq!(bulkhead.load(), (4, 8));
    let mut refused = 0;
    for one in waiting {
        refused += usize::from(one.await.unwrap().is_err());
    }
    assert_eq!(refused, 9);
    assert_eq!(begun.elapsed(), PATIENCE);
    assert_eq!(bulkhead.load(), (4, 0));
    drop(held);
    assert_eq!(bulkhead.load(), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_line_that_stands_gets_shorter_until_it_moves_again() {
    let bulkhead = Arc::<Bulkhead>::default();
    let in_line = |count: usize| {
        let waits = (0..count).map(|_| {
            let bulkhead = bulkhead.clone();
            tokio::spawn(async move {
                let permit = bulkhead.enter(2, PATIENCE).await;
                // The server takes this long for each.
                tokio::time::sleep(Duration::from_millis(20)).await;
                permit.is_ok()
            })
        });
        waits.collect::<Vec<_>>()
    };
    let mut calls = in_line(2);
    tokio::task::yield_now().await;
    // More come than the server can take.
    for _ in 0..20 {
        calls.append(&mut in_line(4));
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    calls.append(&mut in_line(4));
    tokio::task::yield_now().await;
    assert_eq!(bulkhead.load(), (2, 2));
    for call in calls {
        call.await.unwrap();
    }
    // All quiet: the line is a buffer again.
    let calls = in_line(9);
    tokio::task::yield_now().await;
    assert_eq!(bulkhead.load(), (2, 4));
    drop(calls);
}

#[tokio::test(start_paused = true)]
async fn a_place_goes_to_the_one_that_waits_longest_and_nobody_overtakes() {
    let bulkhead = Arc::<Bulkhead>::default();
    let first = bulkhead.enter(1, PATIENCE).await.unwrap();
    let mut second = Box::pin(bulkhead.enter(1, PATIENCE));
    assert!((&mut second).now_or_never().is_none());
    let mut third = Box::pin(bulkhead.enter(1, PATIENCE));
    assert!((&mut third).now_or_never().is_none());
    drop(first);
    assert!(bulkhead.enter(1, Duration::ZERO).await.is_err());
    assert!((&mut third).now_or_never().is_none());
    let second = second.now_or_never().unwrap().unwrap();
    // One that has given up is passed over.
    drop(third);
    let mut fourth = Box::pin(bulkhead.enter(1, PATIENCE));
    assert!((&mut fourth).now_or_never().is_none());
    drop(second);
    drop(fourth.now_or_never().unwrap().unwrap());
    assert_eq!(bulkhead.load(), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn more_places_are_given_out_at_once_and_fewer_as_they_come_back() {
    let bulkhead = Arc::<Bulkhead>::default();
    let one = bulkhead.enter(1, PATIENCE).await.unwrap();
    let mut waits = Box::pin(bulkhead.enter(1, PATIENCE));
    assert!((&mut waits).now_or_never().is_none());
    let more = bulkhead.enter(3, PATIENCE).await.unwrap();
    let two = waits.now_or_never().unwrap().unwrap();
    drop((one, more));
    assert!(bulkhead.enter(1, PATIENCE).await.is_err());
    drop(two);
    assert!(bulkhead.enter(1, PATIENCE).await.is_ok());
}

#[test]
fn no_place_is_lost_or_made_up_between_threads() {
    let bulkhead = Arc::<Bulkhead>::default();
    let most = Arc::new(AtomicUsize::new(0));
    let running = Arc::new(AtomicUsize::new(0));
    let threads: Vec<_> = (0..4)
        .map(|seed: u64| {
            let (bulkhead, most, running) = (bulkhead.clone(), most.clone(), running.clone());
            std::thread::spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread()
                    .enable_time()
                    .build()
                    .unwrap();
                runtime.block_on(join_all((0..16_u64).map(|task| {
                    let (bulkhead, most, running) = (&bulkhead, &most, &running);
                    async move {
                        let mut served = 0_u32;
                        for turn in 0..500 {
                            let chance = (seed * 31 + task * 7 + turn) % 5;
                            let patience = Duration::from_micros(chance * 40);
                            let Ok(_permit) = bulkhead.enter(8, patience).await else {
                                continue;
                            };
                            let now = running.fetch_add(1, Ordering::SeqCst) + 1;
                            most.fetch_max(now, Ordering::SeqCst);
                            tokio::task::yield_now().await;
                            running.fetch_sub(1, Ordering::SeqCst);
                            served += 1;
                        }
                        served
                    }
                })))
            })
        })
        .collect();
    let served: u32 = threads
        .into_iter()
        .flat_map(|thread| thread.join().unwrap())
        .sum();
    assert!(served > 1_000, "{served}");
    assert!(most.load(Ordering::SeqCst) <= 8);
    assert_eq!(bulkhead.load(), (0, 0));
}
