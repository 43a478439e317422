use std::io::BufRead;
fn main() {
    let mut bad = 0;
    let mut n = 0;
    for l in std::io::stdin().lock().lines() {
        let v: serde_json::Value = serde_json::from_str(&l.unwrap()).unwrap();
        let u = v["uses"].as_array().unwrap();
        if !u.iter().any(|x| x == "core")
            || u.iter().any(|x| x == "null_element" || x == "duplicate_columns" || x == "pipe")
        {
            continue;
        }
        n += 1;
        if let Err(e) = phase6::sql::parse::parse(v["sql"].as_str().unwrap()) {
            bad += 1;
            println!("{} {}", v["id"], e);
        }
    }
    println!("{bad}/{n}");
}
