//! The command line of the configuration: its values, its errors and its help.

use std::path::Path;

use super::*;

#[derive(Debug, Parser)]
struct Cli {
    #[command(flatten)]
    config: Config,
    #[command(flatten)]
    admin: Admin,
    #[command(flatten)]
    traces: Traces,
}

/// Whether the value of an option may hold a secret, by its name.
fn is_secret(name: &str) -> bool {
    let words = ["url", "password", "token", "endpoint"];
    let other = name.ends_with("ttl") || name.ends_with("file");
    words.iter().any(|word| name.contains(word)) && !other
}

#[test]
fn values_are_parsed_and_checked_together() {
    let args = [
        "tributary",
        "--database-url=postgres://tributary_app:hunter2@localhost/tributary",
        "--signing-key-file=key.pem",
        "--worker-lease=10s",
    ];
    let config = OptionsOnly::try_parse_from(args).unwrap().config;
    let mistakes = config.mistakes(&[]);
    assert_eq!(mistakes, ["--worker-time-limit must be shorter than --worker-lease"]);
    let shown = format!("{config:?} {}", serde_json::to_string(&config).unwrap());
    assert!(!shown.contains("hunter2"), "{shown}");
}

#[test]
fn the_error_of_an_invalid_value_holds_no_secret() {
    for arg in Cli::command().get_arguments() {
        let Some(name) = arg.get_long().filter(|name| is_secret(name)) else { continue };
        // Not a URL, not a time, not a secret: each parser refuses one of them.
        let values =
            ["hunter2 no url", "x://ada:hunter2@:no", " ", "hunter2:changeme@", "changeme"];
        let errors = values.map(|value| {
            let error = Cli::try_parse_from(["tributary", &format!("--{name}={value}")]);
            error.unwrap_err().to_string()
        });
        let errors = errors.concat();
        assert!(errors.contains(&format!("invalid value for '--{name}")), "{name}: {errors}");
        assert!(!errors.contains("hunter2"), "{name}: {errors}");
    }
}

#[test]
fn an_invalid_value_is_a_usage_error_that_names_the_option_and_the_reason() {
    for (value, reason) in [
        ("--port=http", "invalid value 'http' for '--port <PORT>'"),
        ("--worker-lease=long", "for '--worker-lease <TIME>'"),
        ("--mqtt-password=changeme", "a secret must not be `changeme`"),
        ("--nats-url=nats://me:hunter2@no where", "not a URL"),
    ] {
        let error = OptionsOnly::try_parse_from(["tributary", value]).unwrap_err();
        assert_eq!(error.exit_code(), 2);
        assert!(error.to_string().contains(reason), "{value}: {error}");
    }
}

#[test]
fn a_private_configuration_is_complete() {
    let key = Path::new("key.pem");
    let config = Config::private(
        "postgres://tributary_app@127.0.0.1:5432/tributary",
        "nats://127.0.0.1:4222",
        "mqtt://127.0.0.1:1883",
        key,
    )
    .unwrap();
    assert!(config.mistakes(&ProcessRole::ALL).is_empty());
    assert_eq!((config.http.port, config.tokens.signing_key().unwrap()), (0, key));
}

#[test]
fn help_hides_the_environment_values_of_secrets() {
    for arg in Cli::command().get_arguments() {
        let name = arg.get_id().as_str();
        assert_eq!(arg.is_hide_env_values_set(), is_secret(name), "{name}");
    }
}

fn parsed(args: &[&str]) -> Config {
    let given = args.iter().any(|arg| arg.starts_with("--database-url="));
    let url = (!given).then_some("--database-url=postgres://h/d");
    let required = ["tributary", "--signing-key-file=key.pem"];
    let args = required.into_iter().chain(url).chain(args.iter().copied());
    OptionsOnly::try_parse_from(args).unwrap().config
}

#[test]
fn the_account_on_nats_is_named_once_and_not_shown() {
    let servers = "--nats-url=nats://one:4222,nats://two:4222";
    let file = std::env::temp_dir().join(uuid::Uuid::now_v7().to_string());
    std::fs::write(&file, "SUAHUNTER2\n").unwrap();
    let creds = format!("--nats-creds-file={}", file.display());
    let password = &["--nats-username=relay", "--nats-password=hunter2@/#"] as &[_];
    for account in [password, &["--nats-token=hunter2"], &[&creds]] {
        let config = parsed(&[&[servers][..], account].concat());
        assert!(config.mistakes(&[]).is_empty(), "{:?}", config.mistakes(&[]));
        let shown = format!("{config:?} {}", serde_json::to_string(&config).unwrap());
        assert!(!shown.contains("hunter2") && !shown.contains("SUA"), "{shown}");
    }
    for mistaken in [
        &["--nats-username=relay"] as &[_],
        &["--nats-password=x"],
        &["--nats-username=relay", "--nats-password=x", &creds],
        &["--nats-token=x", &creds],
        &["--nats-url=nats://a:b@one", "--nats-username=relay", "--nats-password=x"],
        &["--nats-url=nats://two,nats://token@one", "--nats-token=x"],
        &["--nats-creds-file=/none"],
        &["--nats-ca-file=/none"],
        &["--nats-cert-file=/none"],
    ] {
        assert_eq!(parsed(mistaken).mistakes(&[]).len(), 1, "{mistaken:?}");
    }
    std::fs::remove_file(&file).unwrap();
}

#[test]
fn a_password_apart_from_the_url_may_hold_any_character() {
    let password = "@/#%$: \"'?&";
    let given =
        parsed(&["--database-url=postgres://a@h/d", &format!("--database-password={password}")]);
    assert_eq!(given.database.password().unwrap().as_deref(), Some(password));
    assert!(given.mistakes(&[]).is_empty());
    for url in ["postgres://a:b@h/d", "postgres://a@h/d?password=b"] {
        let twice = parsed(&[&format!("--database-url={url}"), "--database-password=c"]);
        let mistakes = twice.mistakes(&[]);
        assert_eq!(mistakes, ["--database-url and --database-password both hold a password"]);
        let in_url = parsed(&[&format!("--database-url={url}")]);
        assert_eq!(in_url.database.password().unwrap().as_deref(), Some("b"));
    }
}

#[test]
fn a_ca_needs_a_mode_that_verifies() {
    let file = std::env::temp_dir().join(uuid::Uuid::now_v7().to_string());
    let option = format!("--database-ca-file={}", file.display());
    let mistakes = |url: &str| parsed(&[&format!("--database-url={url}"), &option]).mistakes(&[]);
    assert!(mistakes("postgres://h/d").concat().contains("--database-ca-file: cannot read"));
    std::fs::write(&file, "no certificate").unwrap();
    assert!(mistakes("postgres://h/d").concat().contains("contains no CERTIFICATE in PEM"));
    std::fs::write(&file, pem::encode(&pem::Pem::new("CERTIFICATE", b"x".to_vec()))).unwrap();
    for (mode, refused) in [("prefer", true), ("require", true), ("verify-full", false)] {
        let mistakes = mistakes(&format!("postgres://h/d?sslmode={mode}"));
        assert_eq!(mistakes.concat().contains("set sslmode=verify-full"), refused, "{mistakes:?}");
    }
    assert!(mistakes("postgres://h/d").is_empty());
    std::fs::remove_file(&file).unwrap();
}
