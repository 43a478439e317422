//! The command line: one file a command.

pub mod query;

/// Runs the program on the process's arguments.
pub fn main() -> std::process::ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if args.iter().map(String::as_str).eq(["query", "--jsonl"]) {
        let engine = crate::adapters::duckdb::DuckDb::new(None, Default::default());
        let catalog = crate::sql::MapCatalog::default();
        let done = query::serve_lines(&engine, &catalog, std::io::stdin().lock(), std::io::stdout().lock());
        return if done.is_ok() { std::process::ExitCode::SUCCESS } else { std::process::ExitCode::FAILURE };
    }
    std::process::ExitCode::SUCCESS
}
