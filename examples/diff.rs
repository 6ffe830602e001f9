//! What it costs to compare two answers, as JSON: `diff BLOCKS`, or `diff once CASE` for a profiler.
//!
//! Bodies of 10 KB as shops answer them, in the ways in which two of them differ. A case is measured in blocks, by the
//! processor time of this one thread; `benches/diff.py` holds the medians against their bounds.
#![expect(
    clippy::unwrap_used,
    reason = "a program that measures may fail loudly"
)]

use std::{fmt::Write, hint::black_box};

use bytes::Bytes;
use meshbed::shadow::{Answer, Arrays, Rules, Settings, compare};
use rustix::time::{ClockId, clock_gettime};

/// Length of a body, in bytes, to the next item.
const BODY: usize = 10_000;

/// Comparisons in a block.
const BLOCK: u32 = 200;

struct Case {
    name: &'static str,
    primary: Answer,
    candidate: Answer,
    rules: Rules,
    /// Differences that it must find, so that nothing is measured that does not work.
    finds: usize,
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let cases = cases();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["once", name] => {
            let case = cases.iter().find(|case| case.name == name).unwrap();
            for _ in 0..BLOCK {
                black_box(case.run());
            }
        }
        [blocks] if blocks.parse::<usize>().is_ok() => {
            let blocks = blocks.parse().unwrap();
            let rows: Vec<_> = cases.iter().map(|case| case.measured(blocks)).collect();
            println!("{}", serde_json::Value::from(rows));
        }
        _ => {
            eprintln!("usage: diff BLOCKS, or diff once CASE");
            std::process::exit(2);
        }
    }
}

impl Case {
    fn run(&self) -> usize {
        compare("/items?page=1", &self.primary, &self.candidate, &self.rules).len()
    }

    fn measured(&self, blocks: usize) -> serde_json::Value {
        assert_eq!(self.run(), self.finds, "{}", self.name);
        let block = || {
            let begin = cpu_us();
            for _ in 0..BLOCK {
                black_box(self.run());
            }
            (cpu_us() - begin) / f64::from(BLOCK)
        };
        block();
        let mut times: Vec<f64> = (0..blocks.max(1)).map(|_| block()).collect();
        times.sort_by(f64::total_cmp);
        serde_json::json!({
            "case": self.name, "bytes": self.primary.length, "differences": self.finds, "blocks": times.len(),
            "best_us": times.first(), "median_us": times.get(times.len() / 2),
        })
    }
}

fn cpu_us() -> f64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.tv_sec as f64 * 1e6 + time.tv_nsec as f64 / 1e3
}

/// How a body is written.
#[derive(Default, Clone, Copy)]
struct Written {
    /// Ids and times are of this answer.
    answer: u64,
    /// Fields in another order, and blanks.
    another_way: bool,
    /// Items that are left out.
    without: Option<usize>,
    /// Every price is another.
    dearer: bool,
    /// One price is another.
    wrong: bool,
}

fn cases() -> Vec<Case> {
    let plain = Written::default();
    let first = body(plain);
    let items = first.matches("\"sku\"").count();
    let json = |written: Written| answer("application/json", &body(written));
    let case = |name, candidate: Answer, finds| Case {
        name,
        primary: json(plain),
        candidate,
        rules: Rules::default(),
        finds,
    };
    let keyed = Settings {
        arrays: vec![("$.items".to_owned(), Arrays::Key("sku".to_owned()))],
        format: vec![("$.items[*].id".to_owned(), "uuid".to_owned())],
        ..Settings::default()
    };
    let wrong = Written {
        wrong: true,
        ..plain
    };
    let noisy = Written { answer: 1, ..wrong };
    let lines = |text: &str| text.replace("},{\"sku\"", "},\n{\"sku\"");
    vec![
        case("equal bytes", json(plain), 0),
        case("one value", json(wrong), 1),
        case(
            "noise: an id and a time per item",
            json(noisy),
            2 * items + 3,
        ),
        case(
            "every price",
            json(Written {
                dearer: true,
                ..plain
            }),
            items,
        ),
        case(
            "written another way",
            json(Written {
                another_way: true,
                ..plain
            }),
            0,
        ),
        case(
            "an item missing",
            json(Written {
                without: Some(items / 2),
                ..plain
            }),
            1,
        ),
        Case {
            rules: Rules::compile(&keyed, jiff::civil::date(2026, 1, 1)).unwrap(),
            ..case(
                "by key, ids by format",
                json(Written {
                    another_way: true,
                    ..noisy
                }),
                items + 3,
            )
        },
        Case {
            primary: answer("text/plain", &lines(&first)),
            ..case(
                "lines of text",
                answer("text/plain", &lines(&body(wrong))),
                1,
            )
        },
    ]
}

fn answer(kind: &str, body: &str) -> Answer {
    Answer {
        status: 200,
        headers: vec![
            ("date".to_owned(), b"Sat, 21 Nov 2026 12:06:08 GMT".to_vec()),
            ("content-type".to_owned(), kind.as_bytes().to_vec()),
            (
                "set-cookie".to_owned(),
                b"session=4cbd62c8; Path=/".to_vec(),
            ),
        ],
        length: body.len() as u64,
        body: Bytes::copy_from_slice(body.as_bytes()),
        ..Answer::default()
    }
}

/// A page of items; the request's id and time stand before them.
fn body(written: Written) -> String {
    let own = |n: usize| {
        let answer = (written.answer + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        answer ^ (n as u64).wrapping_mul(0x517c_c1b7_2722_0a95)
    };
    let mut text = String::new();
    let _ = write!(
        text,
        "{{\"request\":\"{}\",\"at\":\"2026-11-21T12:06:{:02}.454Z\",\"page\":1,\"items\":[",
        uuid(own(0)),
        8 + written.answer
    );
    let mut item = 0;
    let mut length = text.len();
    while length < BODY {
        let one = item_text(written, item, own(item + 1));
        // What another way of writing takes more is no reason for fewer items.
        length += item_text(Written::default(), item, own(item + 1)).len() + 1;
        if written.without != Some(item) {
            if item > 0 && !(written.without == Some(0) && item == 1) {
                text.push(',');
            }
            text.push_str(&one);
        }
        item += 1;
    }
    text.push_str("],\"currency\":\"EUR\",\"more\":true}");
    text
}

fn item_text(written: Written, item: usize, own: u64) -> String {
    let sku = 1_000 + item * 7;
    let dearer = written.dearer || (written.wrong && item == 11);
    let price = 199 + (item * 37) % 900 + usize::from(dearer);
    let (id, at) = (uuid(own), 10 + written.answer);
    let name = match item % 3 {
        0 => "oak lamp",
        1 => "steel kettle",
        _ => "walnut shelf \\u00e4",
    };
    if written.another_way {
        return format!(
            "{{\"id\": \"{id}\", \"seen\": \"2026-11-21T11:00:{at}Z\", \"price\": {price}.5, \"tags\": [\"new\", \"sale\"], \"stock\": {}, \
             \"name\": \"{name}\", \"rating\": {{\"count\": {}, \"average\": 4.25}}, \"sku\": \"{sku}\"}}",
            item % 40,
            item * 3
        );
    }
    format!(
        "{{\"sku\":\"{sku}\",\"name\":\"{name}\",\"price\":{price}.5,\"tags\":[\"new\",\"sale\"],\"stock\":{},\
         \"rating\":{{\"average\":4.25,\"count\":{}}},\"id\":\"{id}\",\"seen\":\"2026-11-21T11:00:{at}Z\"}}",
        item % 40,
        item * 3
    )
}

fn uuid(bits: u64) -> String {
    let hex = format!(
        "{bits:016x}{:016x}",
        bits.wrapping_mul(0x2545_f491_4f6c_dd1d)
    );
    let part = |from: usize, to: usize| hex.get(from..to).unwrap_or_default();
    format!(
        "{}-{}-{}-{}-{}",
        part(0, 8),
        part(8, 12),
        part(12, 16),
        part(16, 20),
        part(20, 32)
    )
}
