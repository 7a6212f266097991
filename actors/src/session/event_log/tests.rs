//! Streams that are read again: ids, bounds, readers.

use std::time::Duration;

use super::super::shelf::ReplayLimits;
use super::*;

const FRAME: &[u8] = b"data: 0123456789\n\n";

fn shelf(stream_bytes: usize, total_bytes: usize) -> Arc<Shelf> {
    Shelf::new(ReplayLimits {
        stream_bytes,
        total_bytes,
        keep: Duration::from_secs(60),
    })
}

fn log(shelf: &Arc<Shelf>, name: &str) -> Arc<EventLog> {
    EventLog::new(name.to_owned(), false, shelf.clone())
}

fn text(frames: &[Bytes]) -> Vec<&str> {
    frames
        .iter()
        .map(|frame| std::str::from_utf8(frame).unwrap())
        .collect()
}

#[test]
fn events_have_ids_that_name_their_stream() {
    let shelf = shelf(1000, 1000);
    let log = log(&shelf, "a-1");
    assert_eq!(&log.primer()[..], b"id: a-1.0\nretry: 1000\ndata: \n\n");
    assert_eq!(&log.append(b"data: x\n\n")[..], b"id: a-1.1\ndata: x\n\n");
    assert_eq!(&log.append(b"data: y\n\n")[..], b"id: a-1.2\ndata: y\n\n");
    let nameless = EventLog::new(String::new(), true, shelf.clone());
    assert_eq!(&nameless.append(b"data: x\n\n")[..], b"data: x\n\n");
}

#[tokio::test]
async fn a_reader_goes_on_where_it_left_off() {
    let shelf = shelf(1000, 1000);
    let log = log(&shelf, "s");
    for frame in ["1", "2", "3"] {
        log.append(frame.as_bytes());
    }
    let mut reader = log.read(1).unwrap();
    let page = reader.next().await.unwrap();
    assert_eq!(text(&page.frames), ["id: s.2\n2", "id: s.3\n3"]);
    assert!(!page.over && log.is_read());
    let appending = {
        let log = log.clone();
        tokio::spawn(async move {
            log.append(b"4");
            log.end();
        })
    };
    let mut rest = Vec::new();
    loop {
        let page = reader.next().await.unwrap();
        rest.extend(page.frames);
        if page.over {
            break;
        }
    }
    appending.await.unwrap();
    assert_eq!(text(&rest), ["id: s.4\n4"]);
    drop(reader);
    assert!(!log.is_read());
    // It is over, and can still be read.
    let page = log.read(3).unwrap().next().await.unwrap();
    assert_eq!((page.frames.len(), page.over), (1, true));
    assert_eq!(log.read(5).unwrap_err(), OutOfReach, "never sent");
}

#[tokio::test]
async fn a_newer_reader_takes_over() {
    let shelf = shelf(1000, 1000);
    let log = log(&shelf, "s");
    let mut first = log.read(0).unwrap();
    let waiting = tokio::spawn(async move { first.next().await });
    tokio::task::yield_now().await;
    let mut second = log.read(0).unwrap();
    assert_eq!(waiting.await.unwrap(), Err(OutOfReach));
    log.append(b"1");
    assert_eq!(second.next().await.unwrap().frames.len(), 1);
    assert!(log.is_read(), "the first one's end is not the second one's");
}

#[test]
fn a_stream_keeps_so_many_bytes() {
    let shelf = shelf(3 * 25, 1000);
    let log = log(&shelf, "s");
    for _ in 0..10 {
        log.append(FRAME);
    }
    assert!(shelf.bytes() <= 75, "{}", shelf.bytes());
    assert_eq!(log.read(5).unwrap_err(), OutOfReach);
    assert!(log.read(8).is_ok());
    // What is too large is never kept, and nobody reads across it.
    log.append(&[b'x'; 100]);
    assert_eq!(log.read(10).unwrap_err(), OutOfReach);
    assert!(log.read(11).is_ok());
    assert_eq!(shelf.bytes(), 0);
}

#[test]
fn all_streams_together_keep_so_many_bytes() {
    let shelf = shelf(1000, 100);
    let (over, live) = (log(&shelf, "over"), log(&shelf, "live"));
    for _ in 0..2 {
        over.append(FRAME);
    }
    over.end();
    for _ in 0..3 {
        live.append(FRAME);
    }
    assert!(shelf.bytes() <= 100);
    assert_eq!(over.read(0).unwrap_err(), OutOfReach, "it made room");
    assert!(live.read(0).is_ok());
    // Nothing is over any more: what does not fit is not kept, and that is not hidden.
    for _ in 0..3 {
        live.append(FRAME);
    }
    assert!(shelf.bytes() <= 100);
    assert_eq!(live.read(0).unwrap_err(), OutOfReach);
    drop((over, live));
    assert_eq!(shelf.bytes(), 0);
}

#[tokio::test(start_paused = true)]
async fn what_nobody_asks_for_is_forgotten_after_a_while() {
    let shelf = shelf(1000, 1000);
    let log = log(&shelf, "s");
    log.append(FRAME);
    log.end();
    tokio::time::advance(Duration::from_secs(59)).await;
    shelf.sweep();
    assert!(log.read(0).is_ok() && !log.is_spent());
    tokio::time::advance(Duration::from_secs(2)).await;
    shelf.sweep();
    assert_eq!(log.read(0).unwrap_err(), OutOfReach);
    assert!(log.is_spent() && shelf.bytes() == 0);
}

#[test]
fn a_standalone_stream_that_is_over_is_not_reopened() {
    let shelf = shelf(1000, 1000);
    let log = EventLog::new("s".to_owned(), true, shelf.clone());
    log.append(b"1");
    log.end();
    assert!(log.read(0).is_ok());
    assert_eq!(log.read(1).unwrap_err(), OutOfReach);
}
