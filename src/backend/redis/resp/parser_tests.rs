//! The parser against every type, every way to cut the input, and input that is wrong.

use super::*;

fn whole(bytes: &[u8]) -> Result<Option<Reply>, ProtocolError> {
    let mut parser = Parser::new();
    parser.feed(bytes);
    parser.next()
}

fn refused(bytes: &[u8]) -> String {
    match whole(bytes) {
        Err(error) => error.to_string(),
        Ok(reply) => panic!("{} was taken: {reply:?}", quoted(bytes)),
    }
}

fn simple(text: &str) -> Reply {
    Reply::Simple(text.to_owned().into())
}

fn bulk(text: &str) -> Reply {
    Reply::Bulk(text.as_bytes().to_vec())
}

/// One of each type, nested and empty ones too.
fn samples() -> Vec<(&'static [u8], Reply)> {
    vec![
        (b":0\r\n", Reply::Int(0)),
        (b":-9223372036854775808\r\n", Reply::Int(i64::MIN)),
        (b":+9223372036854775807\r\n", Reply::Int(i64::MAX)),
        (b"+OK\r\n", simple("OK")),
        (b"+a\rb\r\n", simple("a\rb")),
        (b"+\r\n", simple("")),
        (
            b"-ERR no \xff good\r\n",
            Reply::Error("ERR no \u{fffd} good".into()),
        ),
        (b"$-1\r\n", Reply::Nil),
        (b"*-1\r\n", Reply::Nil),
        (b"_\r\n", Reply::Nil),
        (b"$0\r\n\r\n", bulk("")),
        (b"$6\r\na\r\n$1\n\r\n", bulk("a\r\n$1\n")),
        (b"$2\r\n\xff\x00\r\n", Reply::Bulk(vec![255, 0])),
        (b"*0\r\n", Reply::Array(vec![])),
        (
            b"*2\r\n:1\r\n$1\r\nb\r\n",
            Reply::Array(vec![Reply::Int(1), bulk("b")]),
        ),
        (b"~2\r\n+a\r\n_\r\n", Reply::Array(vec![simple("a"), Reply::Nil])),
        (
            b">2\r\n$7\r\nmessage\r\n:3\r\n",
            Reply::Push(vec![bulk("message"), Reply::Int(3)]),
        ),
        (
            b"%1\r\n+k\r\n*1\r\n:5\r\n",
            Reply::Map(vec![(simple("k"), Reply::Array(vec![Reply::Int(5)]))]),
        ),
        (b"%0\r\n", Reply::Map(vec![])),
        (b",-1.5e3\r\n", Reply::Double(-1500.0)),
        (b",inf\r\n", Reply::Double(f64::INFINITY)),
        (b",-inf\r\n", Reply::Double(f64::NEG_INFINITY)),
        (b"#t\r\n", Reply::Bool(true)),
        (b"#f\r\n", Reply::Bool(false)),
        (
            b"(-34928903284092385094325094\r\n",
            Reply::BigNumber("-34928903284092385094325094".into()),
        ),
        (b"!8\r\nERR a\r\nb\r\n", Reply::Error("ERR a\r\nb".into())),
        (b"=8\r\ntxt:ab\r\n\r\n", bulk("ab\r\n")),
        (b"|1\r\n+ttl\r\n:3600\r\n:7\r\n", Reply::Int(7)),
        (b"|0\r\n:7\r\n", Reply::Int(7)),
        (
            b"*2\r\n|1\r\n+a\r\n*1\r\n:1\r\n:8\r\n:9\r\n",
            Reply::Array(vec![Reply::Int(8), Reply::Int(9)]),
        ),
        (
            b"*3\r\n*1\r\n*0\r\n*-1\r\n*1\r\n*1\r\n$-1\r\n",
            Reply::Array(vec![
                Reply::Array(vec![Reply::Array(vec![])]),
                Reply::Nil,
                Reply::Array(vec![Reply::Array(vec![Reply::Nil])]),
            ]),
        ),
    ]
}

#[test]
fn every_type_is_read() {
    for (bytes, expected) in samples() {
        assert_eq!(whole(bytes), Ok(Some(expected)), "{}", quoted(bytes));
    }
    assert!(matches!(whole(b",nan\r\n"), Ok(Some(Reply::Double(number))) if number.is_nan()));
}

#[test]
fn every_type_is_read_wherever_it_is_cut() {
    for (bytes, expected) in samples() {
        for cut in 1..bytes.len() {
            let mut parser = Parser::new();
            parser.feed(&bytes[..cut]);
            assert_eq!(parser.next(), Ok(None), "{} cut at {cut}", quoted(bytes));
            parser.feed(&bytes[cut..]);
            assert_eq!(
                parser.next(),
                Ok(Some(expected.clone())),
                "{} cut at {cut}",
                quoted(bytes)
            );
            assert_eq!(parser.next(), Ok(None));
        }
    }
}

#[test]
fn a_stream_of_replies_is_read_in_pieces_of_any_size() {
    let samples = samples();
    let stream: Vec<u8> = samples
        .iter()
        .flat_map(|(bytes, _)| bytes.iter().copied())
        .collect();
    for size in 1..=stream.len() {
        let mut parser = Parser::new();
        let mut replies = Vec::new();
        for piece in stream.chunks(size) {
            parser.feed(piece);
            while let Some(reply) = parser.next().unwrap() {
                replies.push(reply);
            }
        }
        assert!(
            replies.iter().eq(samples.iter().map(|(_, reply)| reply)),
            "pieces of {size}"
        );
        parser.feed(b"");
        assert_eq!((parser.start, parser.buffer.len()), (0, 0));
    }
}

#[test]
fn wrong_lines_are_refused() {
    for (bytes, says) in [
        (&b":\r\n"[..], "not a whole number of 64 bits: \"\""),
        (b":12a\r\n", "\"12a\""),
        (b":9223372036854775808\r\n", "\"9223372036854775808\""),
        (b"$\r\n", "not a length: \"\""),
        (b"$-2\r\n", "not a length: \"-2\""),
        (b"*-2\r\n", "not a length: \"-2\""),
        (b"%-1\r\n", "not a length: \"-1\""),
        (b">-1\r\n", "not a length: \"-1\""),
        (b"!-1\r\n", "not a length: \"-1\""),
        (b"_x\r\n", "not a null"),
        (b"#x\r\n", "not a boolean: \"x\""),
        (b",x\r\n", "not a number: \"x\""),
        (b"(1x\r\n", "not a big number"),
        (b"(-\r\n", "not a big number"),
        (b"=3\r\ntxt\r\n", "not a verbatim string"),
        (b"=5\r\nabcde\r\n", "not a verbatim string"),
        (b"+OK\n", "does not end in CR LF: \"+OK\\n\""),
        (b":\n", "does not end in CR LF"),
        (b"$1\r\nabc\r\n", "a string of 1 bytes goes on with \"bc\\r\\n\""),
        (b"*1\r\n>1\r\n:1\r\n", "a push inside"),
        (b"\r\n", "begins with \"\\r\\n\""),
        (b"HTTP/1.1 400 Bad Request\r\n", "an HTTP server"),
        (b"\x15\x03\x03\x00\x02\x02\x46", "the server speaks TLS"),
    ] {
        let error = refused(bytes);
        assert!(error.contains(says), "{}: {error}", quoted(bytes));
    }
}

#[test]
fn streamed_types_are_refused() {
    for bytes in [&b"$?\r\n"[..], b"*?\r\n", b"~?\r\n", b"%?\r\n", b">?\r\n"] {
        assert!(refused(bytes).contains("streamed"), "{}", quoted(bytes));
    }
    for bytes in [&b";4\r\nabcd\r\n"[..], b".\r\n"] {
        assert!(
            refused(bytes).contains("no Redis reply begins with"),
            "{}",
            quoted(bytes)
        );
    }
}

#[test]
fn claimed_lengths_past_the_limits_are_refused() {
    let over = |sign: char, length: usize| refused(format!("{sign}{length}\r\n").as_bytes());
    for sign in ['$', '!', '='] {
        assert!(over(sign, BULK_BYTES_MAX + 1).contains("67108865 bytes in a string, the limit is 67108864"));
    }
    for sign in ['*', '~', '>', '%', '|'] {
        assert!(over(sign, ELEMENTS_MAX + 1).contains("1048577 elements, the limit is 1048576"));
    }
    assert!(over('%', ELEMENTS_MAX / 2 + 1).contains("1048578 elements"));
    assert!(refused(b"$18446744073709551616\r\n").contains("not a length"));
}

#[test]
fn claimed_lengths_within_the_limits_allocate_nothing() {
    let mut parser = Parser::new();
    parser.feed(
        format!(
            "*{ELEMENTS_MAX}\r\n%{}\r\n${BULK_BYTES_MAX}\r\nx",
            ELEMENTS_MAX / 2
        )
        .as_bytes(),
    );
    assert_eq!(parser.next(), Ok(None));
    assert!(parser.buffer.capacity() < 1024);
    let reserved: usize = parser
        .open
        .iter()
        .map(|aggregate| aggregate.elements.capacity())
        .sum();
    assert!(reserved <= 2 * ELEMENTS_RESERVED_MAX, "{reserved}");
}

#[test]
fn nesting_stops_at_its_limit() {
    let nested = |depth: usize| [b"*1\r\n".repeat(depth), b":1\r\n".to_vec()].concat();
    let mut reply = whole(&nested(DEPTH_MAX)).unwrap().unwrap();
    for _ in 0..DEPTH_MAX {
        let Reply::Array(mut elements) = reply else {
            panic!("not an array: {reply:?}")
        };
        reply = elements.remove(0);
    }
    assert_eq!(reply, Reply::Int(1));
    assert!(refused(&nested(DEPTH_MAX + 1)).contains("nested deeper than 8"));
    assert!(refused(&b"*1\r\n".repeat(1_000_000)).contains("nested deeper"));
    assert!(refused(&b"|1\r\n".repeat(1_000_000)).contains("nested deeper"));
}

#[test]
fn a_line_stops_at_its_limit() {
    let line = |length: usize| [b"+".to_vec(), vec![b'x'; length - 2], b"\r\n".to_vec()].concat();
    assert!(whole(&line(LINE_BYTES_MAX)).unwrap().is_some());
    assert!(refused(&line(LINE_BYTES_MAX + 1)).contains("a line longer than 65536 bytes: \"+xxx"));
    assert!(refused(&vec![b':'; LINE_BYTES_MAX + 1]).contains("a line longer than"));
}

#[test]
fn a_reply_stops_at_its_limit() {
    // Attributes are dropped, so a stream of them grows nothing but the count of the reply's bytes.
    let attribute = b"|1\r\n+a\r\n+b\r\n";
    let mut parser = Parser::new();
    parser.feed(attribute);
    assert_eq!(parser.next(), Ok(None));
    assert_eq!(parser.parsed_bytes, attribute.len());
    parser.parsed_bytes = REPLY_BYTES_MAX - attribute.len();
    parser.feed(attribute);
    assert_eq!(parser.next(), Ok(None));
    parser.feed(attribute);
    let error = parser.next().unwrap_err().to_string();
    assert!(error.contains("a reply longer than 134217728 bytes"), "{error}");
}

#[test]
fn what_is_fed_and_never_taken_stops_at_its_limit() {
    let mut parser = Parser::new();
    let piece = b":1\r\n".repeat(4 * 1024 * 1024);
    for _ in 0..=REPLY_BYTES_MAX / piece.len() {
        parser.feed(&piece);
    }
    assert!(
        parser
            .next()
            .unwrap_err()
            .to_string()
            .contains("without the end of a reply")
    );
    assert_eq!(parser.buffer.capacity(), 0);
}

#[test]
fn an_error_lasts() {
    let mut parser = Parser::new();
    parser.feed(b":1\r\n?\r\n");
    assert_eq!(parser.next(), Ok(Some(Reply::Int(1))));
    let error = parser.next().unwrap_err();
    parser.feed(b":1\r\n");
    assert_eq!(parser.next(), Err(error));
}

#[test]
fn a_big_reply_in_small_pieces_costs_what_its_bytes_cost() {
    // Parsed anew at each piece, either of these would take hours.
    let text = "x".repeat(8 * 1024 * 1024);
    let numbers = 200_000;
    for (bytes, expected) in [
        (format!("${}\r\n{text}\r\n", text.len()), bulk(&text)),
        (
            format!("*{numbers}\r\n{}", ":5\r\n".repeat(numbers)),
            Reply::Array(vec![Reply::Int(5); numbers]),
        ),
    ] {
        let mut parser = Parser::new();
        let mut reply = None;
        for piece in bytes.as_bytes().chunks(16) {
            assert_eq!(reply, None);
            parser.feed(piece);
            reply = parser.next().unwrap();
        }
        assert!(reply == Some(expected));
        parser.feed(b"");
        assert!(
            parser.buffer.capacity() <= KEPT_BYTES_MAX,
            "a grown buffer is given back"
        );
    }
}

#[test]
fn no_bytes_make_it_panic() {
    let mut random = fastrand::Rng::with_seed(20_260_101);
    let alphabet = b"+-:$*_#,(!=~>%|?01289\r\n\r\n\r\nOKtf.e\xff\x00";
    for round in 0..60_000 {
        let mut bytes: Vec<u8> = if round % 3 == 0 {
            let samples = samples();
            (0..3)
                .flat_map(|_| samples[random.usize(..samples.len())].0.to_vec())
                .collect()
        } else {
            (0..random.usize(..80))
                .map(|_| alphabet[random.usize(..alphabet.len())])
                .collect()
        };
        if let Some(byte) = (!bytes.is_empty()).then(|| random.usize(..bytes.len())) {
            bytes[byte] = random.u8(..);
        }
        // Cut or not, the same comes out.
        let (mut at_once, mut in_pieces) = (Parser::new(), Parser::new());
        let mut expected = Vec::new();
        at_once.feed(&bytes);
        let end = drain(&mut at_once, &mut expected);
        let mut replies = Vec::new();
        let mut piecewise_end = Ok(());
        for piece in bytes.chunks(random.usize(1..8)) {
            in_pieces.feed(piece);
            piecewise_end = drain(&mut in_pieces, &mut replies);
        }
        assert_eq!(
            format!("{replies:?}"),
            format!("{expected:?}"),
            "{}",
            bytes.escape_ascii()
        );
        assert_eq!(piecewise_end.is_ok(), end.is_ok(), "{}", bytes.escape_ascii());
    }
}

fn drain(parser: &mut Parser, replies: &mut Vec<Reply>) -> Result<(), ProtocolError> {
    while let Some(reply) = parser.next()? {
        replies.push(reply);
    }
    Ok(())
}
