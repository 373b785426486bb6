//! Every key of the configuration, once: its name in the file, its environment variable, its flag, its kind of value.
//!
//! Invariant: a name that is not in these lists is refused with the nearest one that is.

/// What the file must hold for a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shape {
    Text,
    Integer,
    Boolean,
    /// A list of texts; in the environment and as a flag they are divided by commas.
    Texts,
}

/// One setting.
#[derive(Debug)]
pub(crate) struct Key {
    /// As errors and `check-config` write it: `table.key` for a key in a table of the file.
    pub(crate) name: &'static str,
    pub(crate) variable: &'static str,
    pub(crate) flag: &'static str,
    pub(crate) shape: Shape,
}

macro_rules! keys {
    ($($constant:ident = $name:literal, $variable:literal, $flag:literal, $shape:ident;)*) => {
        $(pub(crate) static $constant: Key = Key { name: $name, variable: $variable, flag: $flag, shape: Shape::$shape };)*
        /// In the order in which `check-config` shows them.
        pub(crate) static KEYS: &[&Key] = &[$(&$constant),*];
    };
}

keys! {
    DATA_DIR = "data_dir", "SLIPWAY_DATA_DIR", "--data-dir", Text;
    LISTEN = "listen", "SLIPWAY_LISTEN", "--listen", Text;
    PUBLIC_URL = "public_url", "SLIPWAY_PUBLIC_URL", "--public-url", Text;
    DATABASE_URL = "database_url", "SLIPWAY_DATABASE_URL", "--database-url", Text;
    STORAGE_URL = "storage_url", "SLIPWAY_STORAGE_URL", "--storage-url", Text;
    SECRET_KEY_FILE = "secret_key_file", "SLIPWAY_SECRET_KEY_FILE", "--secret-key-file", Text;
    RECONCILE_INTERVAL = "reconcile_interval", "SLIPWAY_RECONCILE_INTERVAL", "--reconcile-interval", Text;
    LINK_CHECK_INTERVAL = "link_check_interval", "SLIPWAY_LINK_CHECK_INTERVAL", "--link-check-interval", Text;
    SOURCE_SWEEP_INTERVAL = "source_sweep_interval", "SLIPWAY_SOURCE_SWEEP_INTERVAL", "--source-sweep-interval", Text;
    DELIVERY_RETENTION = "delivery_retention", "SLIPWAY_DELIVERY_RETENTION", "--delivery-retention", Text;
    DRAIN_TIMEOUT = "drain_timeout", "SLIPWAY_DRAIN_TIMEOUT", "--drain-timeout", Text;
    SIGN_UP = "sign_up", "SLIPWAY_SIGN_UP", "--sign-up", Text;
    LOG = "log", "SLIPWAY_LOG", "--log", Text;
    BUILDER_ENABLED = "builder.enabled", "SLIPWAY_BUILDER_ENABLED", "--builder-enabled", Boolean;
    BUILDER_ENGINE = "builder.engine", "SLIPWAY_BUILDER_ENGINE", "--builder-engine", Text;
    BUILDER_ENGINE_CA_FILE = "builder.engine_ca_file", "SLIPWAY_BUILDER_ENGINE_CA_FILE", "--builder-engine-ca-file", Text;
    BUILDER_ENGINE_CERT_FILE = "builder.engine_cert_file", "SLIPWAY_BUILDER_ENGINE_CERT_FILE", "--builder-engine-cert-file", Text;
    BUILDER_ENGINE_KEY_FILE = "builder.engine_key_file", "SLIPWAY_BUILDER_ENGINE_KEY_FILE", "--builder-engine-key-file", Text;
    BUILDER_PARALLEL = "builder.parallel", "SLIPWAY_BUILDER_PARALLEL", "--builder-parallel", Integer;
    BUILDER_MEMORY = "builder.memory", "SLIPWAY_BUILDER_MEMORY", "--builder-memory", Text;
    BUILDER_HOOKS = "builder.hooks", "SLIPWAY_BUILDER_HOOKS", "--builder-hooks", Texts;
    QUEUE_RUNNING = "queue.running", "SLIPWAY_QUEUE_RUNNING", "--queue-running", Integer;
    QUEUE_PER_NAMESPACE = "queue.per_namespace", "SLIPWAY_QUEUE_PER_NAMESPACE", "--queue-per-namespace", Integer;
    QUEUE_LEASE = "queue.lease", "SLIPWAY_QUEUE_LEASE", "--queue-lease", Text;
    QUEUE_TIME_LIMIT = "queue.time_limit", "SLIPWAY_QUEUE_TIME_LIMIT", "--queue-time-limit", Text;
    MAIL_URL = "mail.url", "SLIPWAY_MAIL_URL", "--mail-url", Text;
    MAIL_FROM = "mail.from", "SLIPWAY_MAIL_FROM", "--mail-from", Text;
    LIMITS_API_PER_MINUTE = "limits.api_per_minute", "SLIPWAY_LIMITS_API_PER_MINUTE", "--limits-api-per-minute", Integer;
    EGRESS_ALLOW = "egress.allow", "SLIPWAY_EGRESS_ALLOW", "--egress-allow", Texts;
}

/// The variable that names the file itself.
pub(crate) const CONFIG_VARIABLE: &str = "SLIPWAY_CONFIG";

/// Keys of one `[[provider]]`.
pub(crate) const PROVIDER_KEYS: &[&str] = &[
    "id",
    "kind",
    "web_url",
    "api_url",
    "client_id",
    "client_secret",
    "client_secret_file",
    "app_id",
    "private_key_file",
    "ssh_url",
    "ssh_host_keys",
];

/// Keys of one `[[oidc]]`.
pub(crate) const OIDC_KEYS: &[&str] =
    &["id", "name", "issuer", "client_id", "client_secret", "client_secret_file", "scopes", "create_accounts"];

/// The shape of a key in one of the lists.
pub(crate) fn entry_shape(key: &str) -> Shape {
    match key {
        "create_accounts" => Shape::Boolean,
        "app_id" => Shape::Integer,
        "ssh_host_keys" => Shape::Texts,
        _ => Shape::Text,
    }
}

/// The tables of the file that stand once.
pub(crate) const TABLES: &[&str] = &["builder", "queue", "mail", "limits", "egress"];

/// The table whose keys are names of namespaces.
pub(crate) const NAMESPACES: (&str, &str) = ("queue", "namespaces");

/// The lists of tables of the file.
pub(crate) const LISTS: &[&str] = &["provider", "oidc"];

/// The known word nearest to `word`, when one is near enough to be meant.
pub(crate) fn nearest<'a>(word: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    known
        .map(|candidate| (strsim::damerau_levenshtein(&word.to_lowercase(), &candidate.to_lowercase()), candidate))
        .filter(|(distance, candidate)| *distance <= 1 + candidate.len().min(word.len()) / 3)
        .min()
        .map(|(_, candidate)| candidate)
}

/// Whether a variable that begins with `SLIPWAY_` is none of ours to judge: names for the project's own tests, and the ones that
/// Kubernetes sets in every pod beside a Service that is called `slipway`.
pub(crate) fn foreign_variable(name: &str) -> bool {
    let kubernetes = name == "SLIPWAY_SERVICE_HOST"
        || name.starts_with("SLIPWAY_SERVICE_PORT")
        || name == "SLIPWAY_PORT"
        || name.strip_prefix("SLIPWAY_PORT_").is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()));
    kubernetes || name == "SLIPWAY_BIN" || name.starts_with("SLIPWAY_TEST_")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_all_three_layers_belong_together() {
        for key in KEYS {
            let word = key.name.replace('.', "_");
            assert_eq!(key.variable, format!("SLIPWAY_{}", word.to_uppercase()));
            assert_eq!(key.flag, format!("--{}", word.replace('_', "-")));
        }
    }

    #[test]
    fn only_a_near_word_is_offered() {
        let known = || KEYS.iter().map(|key| key.name);
        assert_eq!(nearest("lisen", known()), Some("listen"));
        assert_eq!(nearest("data-dir", known()), Some("data_dir"));
        assert_eq!(nearest("flux_capacitor", known()), None);
    }
}
