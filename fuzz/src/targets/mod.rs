//! The targets, a file each.

mod allow_list;
mod basic;
mod bodies;
mod claims;
mod demand;
mod form;
mod instants;
mod jwt;
mod scope;
mod sealed;
mod secret;
mod source;
mod workload_jwt;

/// A function that panics if something does not hold for an input.
pub enum Target {
    Bytes(fn(&[u8])),
    /// Reads the part of the input before its first byte that is not UTF-8.
    Text(fn(&str)),
}

impl Target {
    pub fn run(&self, input: &[u8]) {
        match self {
            Self::Bytes(run) => run(input),
            Self::Text(run) => {
                let text = input.utf8_chunks().next().map_or("", |chunk| chunk.valid());
                run(text);
            }
        }
    }
}

pub fn find(name: &str) -> Option<Target> {
    Some(match name {
        "allow_list" => Target::Text(allow_list::run),
        "basic" => Target::Bytes(basic::run),
        "bodies" => Target::Bytes(bodies::run),
        "claims" => Target::Text(claims::run),
        "demand" => Target::Text(demand::run),
        "form" => Target::Bytes(form::run),
        "instants" => Target::Text(instants::run),
        "jwt" => Target::Bytes(jwt::run),
        "scope" => Target::Text(scope::run),
        "sealed" => Target::Bytes(sealed::run),
        "secret" => Target::Bytes(secret::run),
        "source" => Target::Text(source::run),
        "workload_jwt" => Target::Bytes(workload_jwt::run),
        _ => return None,
    })
}
