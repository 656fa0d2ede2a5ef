//! The tables, as diesel knows them: one description for both databases, held equal to them by `tests/migrations.rs`.

diesel::table! {
    account_roles (account_key, position) {
        account_key -> BigInt,
        position -> BigInt,
        role_key -> BigInt,
    }
}

diesel::table! {
    accounts (key) {
        key -> BigInt,
        uuid -> Binary,
        name -> Text,
        name_key -> Text,
        /// Always `password`, until there are accounts of another kind.
        kind -> Text,
        password_hash -> Nullable<Text>,
        status -> Text,
        version -> BigInt,
        created_at -> BigInt,
        modified_at -> BigInt,
        /// Not used: logins are in the audit trail.
        last_login_at -> Nullable<BigInt>,
        deleted_at -> Nullable<BigInt>,
        password_form -> Nullable<Text>,
        refresh_id -> Nullable<Binary>,
        description -> Nullable<Text>,
    }
}

diesel::table! {
    api_tokens (key) {
        key -> BigInt,
        uuid -> Binary,
        account_key -> BigInt,
        created_by -> Binary,
        created_by_name -> Text,
        name -> Text,
        roles -> Text,
        issued_at -> BigInt,
        expires_at -> BigInt,
        revoked_at -> Nullable<BigInt>,
        revoked_by -> Nullable<Binary>,
        noticed_at -> Nullable<BigInt>,
        used_at -> Nullable<BigInt>,
        description -> Nullable<Text>,
        registry_key -> Nullable<BigInt>,
        level -> Nullable<Text>,
    }
}

diesel::table! {
    app_tokens (key) {
        key -> BigInt,
        uuid -> Binary,
        account_key -> BigInt,
        title -> Text,
        lookup -> Text,
        secret_digest -> Binary,
        secret_key -> BigInt,
        sealed_code -> Nullable<Binary>,
        seal_key -> Nullable<BigInt>,
        created_at -> BigInt,
        expires_at -> Nullable<BigInt>,
        used_at -> Nullable<BigInt>,
        used_address -> Nullable<Text>,
    }
}

diesel::table! {
    audit_chains (chain) {
        chain -> BigInt,
        writer -> Binary,
        opened_at -> BigInt,
        data_key -> BigInt,
        base_sequence -> BigInt,
        base_mac -> Binary,
        head_sequence -> BigInt,
        head_mac -> Binary,
        seal -> Binary,
    }
}

diesel::table! {
    audit_events (chain, sequence) {
        chain -> BigInt,
        sequence -> BigInt,
        at -> BigInt,
        kind -> Text,
        outcome -> Text,
        actor -> Nullable<Binary>,
        actor_name -> Nullable<Text>,
        registry -> Nullable<Binary>,
        subject_kind -> Text,
        subject -> Nullable<Binary>,
        address -> Nullable<Text>,
        request_id -> Text,
        detail -> Text,
        mac -> Binary,
    }
}

diesel::table! {
    bulk_refusals (run_key, number) {
        run_key -> BigInt,
        number -> BigInt,
        token -> Binary,
        name -> Text,
        registry -> Binary,
        registry_name -> Text,
        reason -> Text,
    }
}

diesel::table! {
    bulk_runs (key) {
        key -> BigInt,
        uuid -> Binary,
        account_key -> BigInt,
        created_by -> Binary,
        created_by_name -> Text,
        created_at -> BigInt,
        credential -> Text,
        account_version -> BigInt,
        api_token -> Nullable<Binary>,
        address -> Nullable<Text>,
        request_id -> Text,
        wish -> Text,
        state -> Text,
        reason -> Nullable<Text>,
        found -> BigInt,
        changed -> BigInt,
        unchanged -> BigInt,
        refused -> BigInt,
        at_registry -> Nullable<BigInt>,
        at_position -> Nullable<BigInt>,
        worked_at -> BigInt,
        finished_at -> Nullable<BigInt>,
        login -> Nullable<Binary>,
        made_since -> BigInt,
    }
}

diesel::table! {
    data_keys (key) {
        key -> BigInt,
        purpose -> Text,
        sealed -> Binary,
        server_key_id -> Text,
        created_at -> BigInt,
        retired_at -> Nullable<BigInt>,
    }
}

diesel::table! {
    exchanged_jwts (jwt) {
        jwt -> Binary,
        expires_at -> BigInt,
    }
}

diesel::table! {
    heartbeats (process) {
        process -> BigInt,
        number -> BigInt,
        beaten_at -> BigInt,
    }
}

diesel::table! {
    idempotency (account_key, key_digest) {
        account_key -> BigInt,
        key_digest -> Binary,
        sealed_answer -> Binary,
        seal_key -> BigInt,
        expires_at -> BigInt,
    }
}

diesel::table! {
    issuers (key) {
        key -> BigInt,
        uuid -> Binary,
        url -> Text,
        kind -> Text,
        source -> Text,
        jwks_url -> Nullable<Text>,
        jwks -> Nullable<Text>,
        ca -> Nullable<Text>,
        algorithms -> Text,
        status -> Text,
        version -> BigInt,
        created_at -> BigInt,
        created_by -> Binary,
        created_by_name -> Text,
        modified_at -> Nullable<BigInt>,
        modified_by -> Nullable<Binary>,
        modified_by_name -> Nullable<Text>,
    }
}

diesel::table! {
    janitor_clock (key) {
        key -> BigInt,
        believed_at -> BigInt,
        doubted_since -> Nullable<BigInt>,
        doubted_at -> Nullable<BigInt>,
    }
}

diesel::table! {
    meta (name) {
        name -> Text,
        value -> Binary,
    }
}

diesel::table! {
    registries (key) {
        key -> BigInt,
        uuid -> Binary,
        name -> Text,
        location -> Text,
        schedule -> Nullable<Text>,
        features -> Text,
        subnets -> Text,
        verifier -> Text,
        default_life -> Nullable<BigInt>,
        maximum_life -> Nullable<BigInt>,
        /// A release before this one does not heed it.
        frozen_at -> Nullable<BigInt>,
        version -> BigInt,
        created_at -> BigInt,
        created_by -> Binary,
        created_by_name -> Text,
        modified_at -> Nullable<BigInt>,
        modified_by -> Nullable<Binary>,
        modified_by_name -> Nullable<Text>,
        deleted_at -> Nullable<BigInt>,
        maximum_secret_age -> Nullable<BigInt>,
        description -> Nullable<Text>,
        labels -> Nullable<Text>,
    }
}

diesel::table! {
    registry_counters (registry_key) {
        registry_key -> BigInt,
        next_position -> BigInt,
    }
}

diesel::table! {
    registry_members (registry_key, account_key) {
        registry_key -> BigInt,
        account_key -> BigInt,
        level -> Text,
    }
}

diesel::table! {
    role_permissions (role_key, resource) {
        role_key -> BigInt,
        resource -> Text,
        level -> BigInt,
    }
}

diesel::table! {
    roles (key) {
        key -> BigInt,
        name -> Text,
        /// Not used: roles have no API of their own yet.
        description -> Text,
        /// Not used, likewise.
        built_in -> BigInt,
    }
}

diesel::table! {
    signing_keys (key) {
        key -> BigInt,
        registry_key -> BigInt,
        role -> Text,
        algorithm -> Text,
        kid -> Text,
        certificate -> Binary,
        public_key -> Binary,
        sealed_private -> Binary,
        seal_key -> BigInt,
        not_before -> BigInt,
        not_after -> BigInt,
        active_from -> BigInt,
        retired_at -> Nullable<BigInt>,
    }
}

diesel::table! {
    token_counts (registry_key, bucket) {
        registry_key -> BigInt,
        bucket -> BigInt,
        live -> BigInt,
    }
}

diesel::table! {
    token_uses (token_key) {
        token_key -> BigInt,
        registry_key -> BigInt,
        seen_at -> BigInt,
        used_at -> Nullable<BigInt>,
        address -> Nullable<Text>,
        repository -> Nullable<Text>,
    }
}

diesel::table! {
    tokens (key) {
        key -> BigInt,
        uuid -> Binary,
        registry_key -> BigInt,
        position -> BigInt,
        name -> Text,
        name_key -> Text,
        status -> Text,
        expires_at -> Nullable<BigInt>,
        scopes -> Text,
        cidrs -> Text,
        secret_digest -> Binary,
        secret_key -> BigInt,
        secret_version -> BigInt,
        secret_at -> BigInt,
        previous_digest -> Nullable<Binary>,
        previous_key -> Nullable<BigInt>,
        previous_until -> Nullable<BigInt>,
        version -> BigInt,
        created_at -> BigInt,
        created_by -> Binary,
        created_by_name -> Text,
        modified_at -> Nullable<BigInt>,
        modified_by -> Nullable<Binary>,
        modified_by_name -> Nullable<Text>,
        first_used_at -> Nullable<BigInt>,
        previous_at -> Nullable<BigInt>,
        refresh_id -> Nullable<Binary>,
        description -> Nullable<Text>,
        labels -> Nullable<Text>,
        lookup -> Nullable<Binary>,
        lookup_version -> Nullable<BigInt>,
        previous_lookup -> Nullable<Binary>,
    }
}

diesel::table! {
    trust_refusals (trust_key, identity) {
        trust_key -> BigInt,
        identity -> Binary,
        refused_at -> BigInt,
        times -> BigInt,
        address -> Nullable<Text>,
        detail -> Text,
    }
}

diesel::table! {
    trusts (key) {
        key -> BigInt,
        uuid -> Binary,
        registry_key -> BigInt,
        name -> Text,
        name_key -> Text,
        issuer_key -> BigInt,
        audience -> Nullable<Text>,
        claims -> Text,
        scopes -> Text,
        cidrs -> Text,
        maximum_life -> Nullable<BigInt>,
        status -> Text,
        expires_at -> Nullable<BigInt>,
        generation -> BigInt,
        version -> BigInt,
        created_at -> BigInt,
        created_by -> Binary,
        created_by_name -> Text,
        modified_at -> Nullable<BigInt>,
        modified_by -> Nullable<Binary>,
        modified_by_name -> Nullable<Text>,
    }
}

diesel::allow_tables_to_appear_in_same_query!(
    account_roles,
    accounts,
    api_tokens,
    app_tokens,
    audit_chains,
    audit_events,
    bulk_refusals,
    bulk_runs,
    data_keys,
    exchanged_jwts,
    idempotency,
    issuers,
    meta,
    registries,
    registry_counters,
    registry_members,
    role_permissions,
    roles,
    signing_keys,
    token_counts,
    token_uses,
    tokens,
    trust_refusals,
    trusts,
);
