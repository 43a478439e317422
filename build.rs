//! Lets the built programs find DuckDB's shared library: beside themselves, or where `DUCKDB_LIB_DIR` says it is (which a
//! program that is built to be carried elsewhere, `PHASE6_PORTABLE`, does not remember).

fn main() {
    println!("cargo:rerun-if-env-changed=DUCKDB_LIB_DIR");
    println!("cargo:rerun-if-env-changed=PHASE6_PORTABLE");
    println!("cargo:rerun-if-changed=build.rs");
    if cfg!(feature = "bundled") {
        return;
    }
    println!("cargo:rustc-link-arg=-Wl,-rpath,$ORIGIN:$ORIGIN/deps:$ORIGIN/..");
    if std::env::var_os("PHASE6_PORTABLE").is_some() {
        return;
    }
    if let Ok(dir) = std::env::var("DUCKDB_LIB_DIR") {
        let dir = std::fs::canonicalize(&dir).unwrap_or_else(|_| dir.into());
        println!("cargo:rustc-link-arg=-Wl,-rpath,{}", dir.display());
    }
}
