//! Tells cargo what `embed_migrations!` reads, since a macro cannot see new files by itself.

fn main() {
    println!("cargo:rerun-if-changed=migrations");
}
