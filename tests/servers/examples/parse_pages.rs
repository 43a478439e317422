//! The measure of `benches/bigquery`: parses each file into a `serde_json::Value`, drops it, and prints how much processor time
//! the parsing took, in seconds. The files are read before.

use std::hint::black_box;

fn main() {
    let pages: Vec<Vec<u8>> = std::env::args().skip(1).map(|path| std::fs::read(path).expect("a page")).collect();
    let begin = processor_seconds();
    for page in &pages {
        black_box(serde_json::from_slice::<serde_json::Value>(page).expect("a page is JSON"));
    }
    println!("{:.2}", processor_seconds() - begin);
}

/// User and system time of this process, from `/proc` in hundredths.
fn processor_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").expect("/proc is there");
    let fields: Vec<&str> = stat.rsplit(')').next().expect("its fields").split_whitespace().collect();
    let ticks = |i: usize| fields[i].parse::<f64>().expect("a number");
    (ticks(11) + ticks(12)) / 100.0
}
