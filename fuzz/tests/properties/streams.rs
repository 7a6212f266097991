//! What comes in pieces: event streams, the lines of pipes and the first line of a process.

use proptest::prelude::*;
use weir_actors::upstream::stdio::lines::EXCERPT;

use super::json::{any_message, cases};

fn lengths() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        prop::collection::vec(0..6_u8, 1..8),
        prop::collection::vec(any::<u8>(), 1..8)
    ]
}

/// Lines of an event stream, most of them good, with every kind of line end.
fn event_stream() -> impl Strategy<Value = Vec<u8>> {
    let line = prop_oneof![
        any_message().prop_map(|message| format!("data: {message}")),
        "(data|event|id|retry|dat|)(:|: |:  |)[a-z0-9 \u{e4}\u{0}]{0,8}",
        "[0-9]{1,25}".prop_map(|number| format!("retry: {number}")),
        Just("event: message".to_owned()),
        Just("\u{feff}data: x".to_owned()),
        Just(String::new()),
        Just(String::new()),
        Just(": a comment".to_owned()),
    ];
    let end = prop::sample::select(vec!["\n", "\r", "\r\n", "\n\n", "\r\n\r\n", ""]);
    let raw = prop::collection::vec(any::<u8>(), 0..12);
    let piece = prop_oneof![9 => (line, end).prop_map(|(line, end)| format!("{line}{end}").into_bytes()), 1 => raw];
    prop::collection::vec(piece, 0..16).prop_map(|pieces| pieces.concat())
}

/// Lines of a pipe, some of them about as long as is allowed.
fn pipe(max_line: usize) -> impl Strategy<Value = Vec<u8>> {
    let long = (max_line - 4..max_line + 4, 1..3_usize)
        .prop_map(|(length, times)| vec![b'x'; length * times]);
    let line = prop_oneof![
        3 => any_message().prop_map(|message| message.to_string().into_bytes()),
        1 => prop::collection::vec(any::<u8>(), 0..20),
        1 => long,
        1 => Just(Vec::new()),
    ];
    let end = prop::sample::select(vec!["\n", "\r\n", "\r", "\n\r\n", ""]);
    let piece = (line, end).prop_map(|(line, end)| [line, end.into()].concat());
    prop::collection::vec(piece, 0..8).prop_map(|pieces| pieces.concat())
}

/// What a process says first, most of it nearly a port.
fn first_words() -> impl Strategy<Value = Vec<u8>> {
    let number = prop_oneof![
        4 => (0..70_000_u32).prop_map(|port| port.to_string()),
        1 => "[0-9]{1,25}",
        1 => "[-+x0-9a-f .]{0,6}",
        1 => (0..300_usize).prop_map(|zeros| "0".repeat(zeros) + "80"),
    ];
    let word = prop::sample::select(vec!["PORT=", " PORT=", "PORT =", "port=", "PORT", ""]);
    let line = (word, number).prop_map(|(word, number)| format!("{word}{number}").into_bytes());
    let end = prop::sample::select(vec!["\n", "\r\n", " \n", "\n\n", ""]);
    let behind = prop::collection::vec(any::<u8>(), 0..40);
    let any = prop::collection::vec(any::<u8>(), 0..600);
    let words =
        (line, end, behind).prop_map(|(line, end, behind)| [line, end.into(), behind].concat());
    prop_oneof![9 => words, 1 => any]
}

proptest! {
    #![proptest_config(cases(1_500))]

    #[test]
    fn the_first_line_may_be_cut_anywhere(said in first_words(), lengths in lengths()) {
        weir_fuzz::port_line::holds(&said, &lengths);
    }

    #[test]
    fn event_streams_may_be_cut_anywhere(stream in event_stream(), lengths in lengths(), cap in 8..600_usize) {
        weir_fuzz::sse::holds(&stream, &lengths, cap);
    }
}

proptest! {
    #![proptest_config(cases(300))]

    #[test]
    fn pipes_may_be_cut_anywhere(said in pipe(EXCERPT + 20), lengths in lengths()) {
        weir_fuzz::stdio::holds(&said, &lengths, EXCERPT + 20);
    }
}
