//! `tributary login` and contexts: a session on disk, and operator commands over HTTP with it.

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Output, Stdio};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tests::{DEADLINE, System, eventually};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Command;
use tokio::time::timeout;

const EMAIL: &str = "root@example.org";
const PASSWORD: &str = "correct horse battery";

/// A person at a terminal without variables, whose files are in a folder of their own.
pub(crate) struct Person {
    pub(crate) home: PathBuf,
}

impl Person {
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(tests::tributary());
        command.args(arguments).env("XDG_CONFIG_HOME", &self.home).kill_on_drop(true);
        command.env_remove("DATABASE_URL");
        for name in ["URL", "TOKEN", "CONTEXT", "CA_FILE"] {
            command.env_remove(format!("TRIBUTARY_{name}"));
        }
        command.stdin(Stdio::null());
        command
    }

    async fn output(&self, arguments: &[&str]) -> Result<Output> {
        Ok(self.command(arguments).output().await?)
    }

    pub(crate) async fn run(&self, arguments: &[&str]) -> Result<String> {
        let output = self.output(arguments).await?;
        let stderr = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "{arguments:?}: {}: {stderr}", output.status);
        Ok(String::from_utf8(output.stdout)?)
    }

    /// Runs a command that must fail. Returns its exit code and stderr.
    pub(crate) async fn refused(&self, arguments: &[&str]) -> Result<(Option<i32>, String)> {
        let output = self.output(arguments).await?;
        ensure!(!output.status.success(), "{arguments:?} succeeded");
        Ok((output.status.code(), String::from_utf8(output.stderr)?))
    }
}

/// Registers an administrator and signs in.
async fn signed_in(system: &System) -> Result<Person> {
    let person = Person { home: system.folder.join("config") };
    let password = system.folder.join("password");
    std::fs::write(&password, format!("{PASSWORD}\n"))?;
    let mut create = person.command(&["users", "create-admin", "--email", EMAIL]);
    create.envs(system.environment.iter().map(|(name, value)| (name, value)));
    let created = create.stdin(std::fs::File::open(&password)?).output().await?;
    ensure!(created.status.success(), "{}", String::from_utf8_lossy(&created.stderr));
    let password = password.to_str().context("a path")?;
    let login = ["login", "--email", EMAIL, "--password-file", password, "--context", "test"];
    person.run(&[&login[..], &["--url", &system.url()]].concat()).await?;
    Ok(person)
}

#[tokio::test]
async fn after_a_login_operator_commands_need_no_variable() -> Result<()> {
    let system = System::start().await?;
    let _process = system.serve(&[]).await?;
    let person = signed_in(&system).await?;
    let file = person.home.join("tributary/contexts.json");
    assert_eq!(std::fs::metadata(&file)?.permissions().mode() & 0o777, 0o600);
    assert!(!std::fs::read_to_string(&file)?.contains(PASSWORD));

    for _ in 0..3 {
        person.run(&["work", "demand", "--add-up-to", "4"]).await?;
    }
    system.caught_up().await?;
    assert!(person.run(&["users", "list"]).await?.contains(EMAIL));
    assert!(person.run(&["user", "list", "-o", "csv"]).await?.starts_with("id,email,"));
    let lag = person.run(&["lag"]).await?;
    assert!(lag.contains("CONSUMER") && lag.contains("relay"), "{lag}");
    assert!(person.run(&["parked", "list"]).await?.contains("KEY"));

    // The same events from the database, over HTTP, as a page and as a stream.
    let of_works = ["--context", "works", "--type", "work_demanded"];
    let stored = system.run(&[&["replay", "--to-stdout"], &of_works[..]].concat()).await?;
    assert_eq!(stored.lines().count(), 3);
    let served = person.run(&[&["replay", "--to-stdout"], &of_works[..]].concat()).await?;
    assert_eq!(served, stored);
    let tail = ["tail", "--after", "0", "--limit", "3"];
    assert_eq!(person.run(&[&tail[..], &of_works].concat()).await?, stored);
    let list = ["events", "list", "-o", "json", "--from", "1 hour ago"];
    for runner in ["database", "server"] {
        let list = [&list[..], &of_works].concat();
        let listed =
            if runner == "server" { person.run(&list).await? } else { system.run(&list).await? };
        let listed: Vec<Value> = serde_json::from_str(&listed)?;
        let mut expected =
            stored.lines().map(serde_json::from_str).collect::<Result<Vec<Value>, _>>()?;
        expected.reverse();
        assert_eq!(listed, expected, "newest first, from the {runner}");
    }
    let oldest =
        person.run(&["events", "list", "--oldest-first", "--limit", "1", "-o", "csv"]).await?;
    assert!(oldest.lines().nth(1).is_some_and(|line| line.starts_with("1,")), "{oldest}");
    assert_eq!(person.run(&["replay", "--to-stdout", "--until", "yesterday"]).await?, "");

    let (code, stderr) = person.refused(&["verify"]).await?;
    assert!(code == Some(2) && stderr.contains("DATABASE_URL"), "{stderr}");
    let (code, stderr) = person.refused(&["events", "list", "--from", "soon"]).await?;
    assert!(
        code == Some(2) && stderr.contains("2 hours ago") && stderr.contains("RFC 3339"),
        "{stderr}"
    );
    Ok(())
}

#[tokio::test]
async fn a_person_lists_sessions_and_ends_one() -> Result<()> {
    let system = System::start().await?;
    let _process = system.serve(&["http", "projector"]).await?;
    let person = signed_in(&system).await?;
    system.caught_up().await?;
    let listed = person.run(&["users", "sessions", "-o", "csv"]).await?;
    let [head, row] = listed.lines().collect::<Vec<_>>()[..] else {
        anyhow::bail!("one session: {listed}");
    };
    assert_eq!(head, "id,created_at,refreshed_at,expires_at,current");
    ensure!(row.ends_with(",true"), "{row}");
    let (id, _) = row.split_once(',').context("an id")?;
    person.run(&["users", "end-session", id]).await?;
    assert_eq!(person.run(&["users", "sessions", "-o", "json"]).await?.trim(), "[]");
    let (_, stderr) = person.refused(&["users", "end-session", id]).await?;
    ensure!(stderr.contains("the session does not exist"), "{stderr}");
    Ok(())
}

#[tokio::test]
async fn contexts_are_chosen_and_a_token_stays_with_its_server() -> Result<()> {
    let system = System::start().await?;
    let _process = system.serve(&[]).await?;
    let person = signed_in(&system).await?;
    let contexts: Value =
        serde_json::from_str(&person.run(&["contexts", "list", "--json"]).await?)?;
    let expected = json!({"current": true, "name": "test", "email": EMAIL, "signed_in": true});
    for (name, value) in expected.as_object().context("an object")? {
        assert_eq!(&contexts[0][name], value, "{name}");
    }
    person.run(&["works", "list", "--context", "test"]).await?;
    let (code, stderr) = person.refused(&["works", "list", "--context", "other"]).await?;
    assert!(code == Some(2) && stderr.contains("contexts list"), "{stderr}");
    // The token of the context is not sent to another server, and a token in the environment wins.
    let elsewhere = ["works", "list", "--url", "http://127.0.0.1:9"];
    let (code, stderr) = person.refused(&elsewhere).await?;
    assert!(code == Some(2) && stderr.contains("another server"), "{stderr}");
    let mut given = person.command(&["works", "list"]);
    let given = given.env("TRIBUTARY_TOKEN", "given").env("TRIBUTARY_URL", system.url());
    let stderr = String::from_utf8(given.output().await?.stderr)?;
    assert!(stderr.contains("401"), "the given token is used: {stderr}");

    person.run(&["logout"]).await?;
    let (_, stderr) = person.refused(&["works", "list"]).await?;
    assert!(stderr.contains("tributary login"), "{stderr}");
    person.run(&["contexts", "remove", "test"]).await?;
    assert_eq!(person.run(&["contexts", "list", "--json"]).await?.trim(), "[]");

    // A terminal asks for the password and does not echo it.
    let login =
        format!("{} login --email {EMAIL} --url {}", tests::tributary().display(), system.url());
    let mut terminal = Command::new("script");
    terminal.args(["-qec", &login, "/dev/null"]).env("XDG_CONFIG_HOME", &person.home);
    terminal.env_remove("TRIBUTARY_CONTEXT").stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut terminal = terminal.kill_on_drop(true).spawn()?;
    let (mut typed, shown) = (terminal.stdin.take(), terminal.stdout.take().context("stdout")?);
    let (mut lines, mut transcript) = (BufReader::new(shown).lines(), String::new());
    while let Some(line) = timeout(DEADLINE, lines.next_line()).await?? {
        transcript.push_str(&line);
        if let Some(mut typed) = typed.take_if(|_| transcript.contains("Password")) {
            use tokio::io::AsyncWriteExt;
            typed.write_all(format!("{PASSWORD}\n").as_bytes()).await?;
        }
    }
    ensure!(terminal.wait().await?.success(), "{transcript}");
    assert!(transcript.contains("signed in") && !transcript.contains(PASSWORD), "{transcript}");
    person.run(&["works", "list"]).await?;
    Ok(())
}

#[tokio::test]
async fn processes_that_refresh_one_session_at_once_do_not_end_it() -> Result<()> {
    let system = System::start().await?;
    // Shorter than the time before its end at which a token is replaced: every command refreshes.
    let ttl = [("ACCESS_TOKEN_TTL", "20s")];
    let process = system.serve_with(&["http", "projector"], &ttl).await?;
    let person = signed_in(&system).await?;
    for _ in 0..2 {
        let running = (0..6).map(|_| person.run(&["works", "list"]));
        futures::future::try_join_all(running).await?;
    }
    // A tail over HTTP resumes after a restart of the server, with the next token.
    let mut tail = person.command(&["tail", "--after", "0", "--context", "works", "--limit", "2"]);
    let mut tail = tail.stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?;
    let mut lines = BufReader::new(tail.stdout.take().context("stdout")?).lines();
    person.run(&["works", "demand"]).await?;
    let first = timeout(DEADLINE, lines.next_line()).await??.context("an event")?;
    process.kill().await?;
    let _process = system.serve_with(&["http", "projector"], &ttl).await?;
    eventually("the server is back", async || Ok(person.run(&["works", "demand"]).await.is_ok()))
        .await?;
    let second = timeout(DEADLINE, lines.next_line()).await??.context("another event")?;
    assert!(first.contains("work_demanded") && second.contains("work_demanded") && first != second);
    assert!(timeout(DEADLINE, tail.wait()).await??.success());
    Ok(())
}
