//! The banner of `tributary dev`: addresses and commands to try, on stdout, and the same addresses
//! for programs in `dev.env`.

use std::path::Path;

use anyhow::Context;

use super::super::outcome::Failure;
use super::super::output;
use super::admin::{Administrator, EMAIL};
use super::demo::{ALARM_EVERY, EVENTS_PER_SECOND, Speed};
use devservers::Nats;
use gateway::config::{Admin, Config, Secret, ServerUrl};

/// The address of the API, a token of the administrator, and a one-time code for the console.
pub(super) struct Access {
    pub(super) url: ServerUrl,
    pub(super) token: Secret,
    pub(super) code: Secret,
}

/// Accounts of NATS for other programs, and the variables with their URLs.
const NATS_ACCOUNTS: [(&str, &str); 3] = [
    ("NATS_SUBSCRIBER_URL", "subscriber"),
    ("NATS_PRODUCER_URL", "producer"),
    ("NATS_ADMIN_URL", "admin"),
];

/// Writes `dev.env` with mode 0600, because it holds a token and passwords.
pub(super) fn write(
    directory: &Path,
    access: &Access,
    administrator: &Administrator,
    config: &Config,
    admin: &Admin,
    nats: &Nats,
) -> anyhow::Result<()> {
    use std::io::Write;
    use std::os::unix::fs::OpenOptionsExt;
    let file = directory.join("dev.env");
    let values = [
        ("TRIBUTARY_URL", access.url.expose()),
        ("TRIBUTARY_TOKEN", access.token.expose()),
        ("TRIBUTARY_EMAIL", EMAIL),
        ("TRIBUTARY_PASSWORD", administrator.password.expose()),
        ("DATABASE_URL", config.database.database_url.expose()),
        ("DATABASE_ADMIN_URL", admin.database_admin_url.expose()),
        ("NATS_URL", config.bus.nats_url.expose()),
        ("MQTT_URL", config.mqtt.broker.mqtt_url.expose()),
        ("MQTT_ALLOW_ANONYMOUS", "true"),
    ];
    let lines = values.map(|(name, value)| format!("{name}='{value}'\n"));
    let accounts = NATS_ACCOUNTS
        .map(|(name, account)| format!("{name}='{}'\n", nats.url_as(account)))
        .concat();
    let key = std::path::absolute(config.tokens.signing_key()?)?;
    let key = format!("TRIBUTARY_SIGNING_KEY_FILE='{}'\n", key.display());
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    options
        .open(&file)
        .and_then(|mut file| file.write_all((lines.concat() + &accounts + &key).as_bytes()))
        .with_context(|| format!("cannot write {}", file.display()))
}

/// Prints the banner. `speed` is that of the demo, if it runs.
pub(super) fn print(
    directory: &Path,
    access: &Access,
    config: &Config,
    speed: Option<Speed>,
) -> Result<(), Failure> {
    let env = directory.join("dev.env");
    let env = env.display();
    let (url, code) = (&access.url, access.code.expose());
    let tributary = executable();
    let demo = speed.map_or_else(String::new, demo);
    let banner = format!(
        "
Console  {url}console/#code={code}   (signs in once)

Tributary is running.  API {url}api/v1   documentation {url}docs
  Sign in as {EMAIL}; the password is in {env}, with a token valid for 30 days
  Postgres  {}
  NATS      {}
            for your programs: NATS_SUBSCRIBER_URL and NATS_PRODUCER_URL in {env}
  MQTT      {}
{demo}
Try next, in another terminal:
  set -a; . {env}; set +a
  curl -H \"Authorization: Bearer $TRIBUTARY_TOKEN\" {url}api/v1/devices
  curl --data-urlencode username=$TRIBUTARY_EMAIL --data-urlencode password=$TRIBUTARY_PASSWORD \\
       {url}api/v1/auth/login/access-token
  curl -H \"Authorization: Bearer $TRIBUTARY_TOKEN\" -H 'Content-Type: application/json' \\
       -d '{{\"add_up_to\": 100}}' {url}api/v1/works
  curl -N -H \"Authorization: Bearer $TRIBUTARY_TOKEN\" {url}api/v1/events/stream
  mosquitto_pub -q 1 -L $MQTT_URL/users/ada/devices/kitchen/telemetry \\
       -m '{{\"sequence_id\": 1000, \"temperature\": 21.5}}'
  {tributary} works produce --every 1s --count 5
  {tributary} works list
  {tributary} lag

Ctrl-C stops it; the data is kept in {}.",
        config.database.database_url,
        config.bus.nats_url,
        config.mqtt.broker.mqtt_url,
        directory.display(),
    );
    banner.lines().try_for_each(output::line)
}

/// Returns the line about the demo.
fn demo(Speed(speed): Speed) -> String {
    let rate = EVENTS_PER_SECOND * speed;
    let alarm_every = ALARM_EVERY.div_f64(speed).as_secs_f64();
    format!(
        "  Demo      about {rate:.0} events a second, an alert every {alarm_every:.0} s; \
         --quiet-demo turns it off\n"
    )
}

/// Returns the path of the executable relative to the current directory: after `make run` it is not
/// in `PATH`.
fn executable() -> String {
    let here = std::env::current_dir().unwrap_or_default();
    let path = std::env::current_exe().unwrap_or_else(|_unknown| "tributary".into());
    path.strip_prefix(&here).unwrap_or(&path).display().to_string()
}
