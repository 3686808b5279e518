//! Tells the agent for which machines it is built.

fn main() {
    let target = std::env::var("TARGET").unwrap_or_else(|_| "unknown".to_owned());
    println!("cargo:rustc-env=NEXPLANE_TARGET={target}");
    println!("cargo:rerun-if-changed=build.rs");
}
