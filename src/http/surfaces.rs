//! The list of all surfaces. A new one is a folder with a [`Surface`](super::surface::Surface), and a line here.

use super::surface::Surfaces;
use super::{operations, pages, quay, registries, registry_auth, stackrox};

pub(super) static SURFACES: Surfaces = Surfaces {
    all: &[
        &operations::SURFACE,
        &registry_auth::SURFACE,
        &registries::SURFACE,
        &stackrox::SURFACE,
        &quay::SURFACE,
        &pages::SURFACE,
    ],
    fallback: &registries::SURFACE,
};

#[cfg(test)]
mod tests {
    use super::super::document;
    use super::*;

    #[test]
    fn a_surface_owns_its_paths() {
        for surface in SURFACES.all {
            let documented = surface.document.as_ref().map(document::alone);
            let documented = documented
                .into_iter()
                .flat_map(|document| document.paths.paths);
            let documented = documented.map(|(path, _)| path);
            let unlisted = surface.unlisted.iter().map(|(path, _)| (*path).to_owned());
            let any_method = surface.any_method.iter().map(|path| (*path).to_owned());
            for path in documented.chain(unlisted).chain(any_method) {
                assert_eq!(SURFACES.of(&path).name, surface.name, "{path}");
            }
        }
    }
}
