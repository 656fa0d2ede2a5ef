//! Links in the documents, from an answer that made a thing to the operations on it, so that tools can chain calls.

use serde_json::json;
use utoipa::openapi::link::Link;
use utoipa::openapi::{OpenApi, RefOr};

use super::examples::operations;

/// A kind of thing that can be made.
struct Thing {
    /// The operations that make it.
    makers: &'static [&'static str],
    /// The parameters that name it, with their runtime expressions.
    names: &'static [(&'static str, &'static str)],
    /// The operations that take these parameters.
    uses: &'static [&'static str],
}

const THINGS: [Thing; 9] = [
    Thing {
        makers: &["registriesPost", "registriesPut"],
        names: &[("registryId", "$response.body#/id")],
        uses: &[
            "registriesFindById",
            "registriesPatch",
            "registriesDelete",
            "registriesTokensGet",
            "registriesTokensPost",
            "registriesMembersGet",
            "registriesTrustsGet",
            "registriesTrustsPost",
            "registriesAuthConfigGet",
            "registriesAuthBundleGet",
            "registriesJwksGet",
        ],
    },
    Thing {
        makers: &[
            "registriesTokensPost",
            "registriesTokensPut",
            "registriesTokensRotate",
        ],
        names: &[
            ("registryId", "$request.path.registryId"),
            ("tokenId", "$response.body#/id"),
        ],
        uses: &[
            "registriesTokensFindById",
            "registriesTokensPatch",
            "registriesTokensDelete",
            "registriesTokensEvaluate",
            "registriesTokensRotate",
            "registriesTokensPreviousSecretDelete",
        ],
    },
    Thing {
        makers: &["registriesMembersPut"],
        names: &[
            ("registryId", "$request.path.registryId"),
            ("accountId", "$request.path.accountId"),
        ],
        uses: &["registriesMembersPut", "registriesMembersDelete"],
    },
    Thing {
        makers: &["registriesTrustsPost", "registriesTrustsPut"],
        names: &[
            ("registryId", "$request.path.registryId"),
            ("trustId", "$response.body#/id"),
        ],
        uses: &[
            "registriesTrustsFindById",
            "registriesTrustsPatch",
            "registriesTrustsDelete",
            "registriesTrustsEvaluate",
            "registriesTrustsRefusalsGet",
        ],
    },
    Thing {
        makers: &["issuersPost", "issuersPut"],
        names: &[("issuerId", "$response.body#/id")],
        uses: &["issuersFindById", "issuersPatch", "issuersDelete"],
    },
    Thing {
        makers: &["accountsPost"],
        names: &[("accountId", "$response.body#/id")],
        uses: &["accountsFindById", "accountsPatch", "accountsDelete"],
    },
    Thing {
        makers: &["registriesApiTokensPost"],
        names: &[
            ("registryId", "$request.path.registryId"),
            ("apiTokenId", "$response.body#/id"),
        ],
        uses: &["registriesApiTokensFindById", "registriesApiTokensDelete"],
    },
    Thing {
        makers: &["GenerateToken"],
        names: &[("id", "$response.body#/metadata/id")],
        uses: &["GetAPIToken", "RevokeToken"],
    },
    Thing {
        makers: &["createAppToken"],
        names: &[("token_uuid", "$response.body#/token/uuid")],
        uses: &["getAppToken", "revokeAppToken"],
    },
];

/// Adds the links to the successful answers of all operations that make something.
pub(super) fn link(document: &mut OpenApi) {
    for item in document.paths.paths.values_mut() {
        for operation in operations(item) {
            let id = operation.operation_id.as_deref().unwrap_or_default();
            let Some(thing) = THINGS.iter().find(|thing| thing.makers.contains(&id)) else {
                continue;
            };
            for (status, response) in &mut operation.responses.responses {
                let (true, RefOr::T(response)) = (status.starts_with('2'), response) else {
                    continue;
                };
                for target in thing.uses {
                    let mut link = Link::builder().operation_id(*target);
                    for (name, place) in thing.names {
                        link = link.parameter(*name, json!(place));
                    }
                    let link = RefOr::T(link.build());
                    response.links.insert((*target).to_owned(), link);
                }
            }
        }
    }
}
