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
