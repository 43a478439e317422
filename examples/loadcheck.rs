use phase6::model::*;
fn main() {
    let root = std::path::PathBuf::from(std::env::args().nth(1).unwrap());
    let env = |_: &str| None;
    let mut l = phase6::config::load(&root, &env);
    let more = phase6::config::lint::all(&mut l.project, &mut l.sources, None);
    for f in l.findings.iter().chain(&more) {
        let place = f.labels.first().map(|x| { let s = l.sources.get(x.span.file); let (a,b) = l.sources.line_column(x.span.file, x.span.start); format!("{}:{a}:{b}", s.path.display()) });
        println!("{:?} {} {} {:?} {:?}", f.severity, f.code, f.message, place, f.help);
    }
    println!("{} findings, {} exports", l.findings.len() + more.len(), l.project.exports.len());
}
