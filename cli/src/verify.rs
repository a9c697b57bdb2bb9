//! `tributary verify`: checks the log. Walks the hash chain from the first event to the last, in
//! pages, and checks every reference into the log. With `--projections` it also rebuilds read models
//! in shadow schemas and compares them with the live ones.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow};
use chrono::DateTime;
use clap::builder::PossibleValuesParser;
use eventsourcing::{Position, StreamId, Version};
use eventstore::{
    ChainVerifier, ConnectOptions, Finding, HashedEvent, LogReader, LogVerification, RawEvent,
};
use indicatif::{ProgressBar, ProgressStyle};
use projections::Purpose;
use serde::Serialize;

use super::log_source::OptionalDatabase;
use super::outcome::Failure;
use super::{output, rebuild};

/// Findings that are reported one by one; further ones are only counted.
const REPORTED: usize = 100;
/// Read models rebuilt concurrently.
const PARALLEL: u8 = 2;

const DUMP: &str = r#"To write a dump for --dump:
  psql "$DATABASE_URL" -c "\copy (select position, event_id, stream_id, version, event_type, schema_version, data, metadata, (extract(epoch from recorded_at) * 1000000)::bigint, hash from log.event order by position) to 'log.dump'""#;

#[derive(Debug, clap::Args)]
#[command(after_long_help = DUMP)]
pub(super) struct Args {
    /// Verify a dump of the log instead of the database; the end of --help shows how to write one
    #[arg(long, value_name = "FILE")]
    dump: Option<PathBuf>,
    /// Rebuild these read models in shadow schemas and compare them with the live ones; without
    /// names, all
    #[arg(long, value_name = "NAME", num_args = 0.., conflicts_with = "dump",
          value_parser = PossibleValuesParser::new(projections::names()))]
    projections: Option<Vec<String>>,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    database: OptionalDatabase,
}

/// The result of a run.
#[derive(Debug, Serialize)]
struct Report {
    /// Whether the log has no findings and the compared read models have no differences.
    ok: bool,
    /// Number of events checked.
    events: u64,
    /// Position of the last event checked.
    position: i64,
    /// Hash of the chain at that position, in hexadecimal: equal hashes mean equal logs.
    hash: String,
    /// Number of findings.
    count: usize,
    /// The first of them, at most 100.
    findings: Vec<Finding>,
    /// Result for each read model, with `--projections`.
    #[serde(skip_serializing_if = "Option::is_none")]
    projections: Option<Vec<rebuild::Outcome>>,
}

/// Counts findings and keeps the first of them.
#[derive(Debug, Default)]
pub(super) struct Findings {
    pub(super) count: usize,
    pub(super) reported: Vec<Finding>,
}

impl Findings {
    fn add(&mut self, finding: impl IntoIterator<Item = Finding>) {
        for finding in finding {
            self.count += 1;
            if self.reported.len() < REPORTED {
                self.reported.push(finding);
            }
        }
    }
}

pub(super) async fn run(args: Args) -> Result<(), Failure> {
    let (mut walk, mut findings) = (ChainVerifier::default(), Findings::default());
    let mut models = None;
    match (&args.dump, &args.database.0) {
        (Some(file), _) => verify_dump(file, &mut walk, &mut findings)?,
        (None, Some(database)) => {
            let options = database.options()?.without_time_limits();
            let reader = LogReader::new(eventstore::pool(options.clone(), 1));
            walk = verify_log(reader, &mut findings).await?;
            models = match args.projections {
                Some(names) => Some(compare(options, names).await?),
                None => None,
            };
        }
        (None, None) => {
            let message = "verify reads every event with its hash, from the database only: set \
                           --database-url (DATABASE_URL), or verify a dump with --dump";
            return Err(Failure::usage(vec![message.into()]));
        }
    }
    let (position, hash) = walk.at();
    let hash = hex::encode(hash);
    let Findings { count, reported } = findings;
    let log = if count == 0 {
        Ok(())
    } else {
        Err(Failure::difference(vec![format!("the log has {count} findings")]))
    };
    let verdict = match (log, models.as_ref().map_or(Ok(()), rebuild::verdict)) {
        (Err(log), Err(models)) => Err(log.and(models)),
        (log, models) => log.and(models),
    };
    let (events, position) = (walk.events, position.0);
    let report = Report {
        ok: verdict.is_ok(),
        events,
        position,
        hash,
        count,
        findings: reported,
        projections: models.as_ref().map(rebuild::outcomes),
    };
    let printed = if args.json { output::json(&report) } else { print(&report, models.as_ref()) };
    output::conclude(printed, verdict)
}

fn print(report: &Report, models: Option<&rebuild::Results>) -> Result<(), Failure> {
    let Report { events, position, hash, findings, .. } = report;
    print_chain(*events, *position, hash, findings)?;
    models.map_or(Ok(()), rebuild::print)
}

/// Prints the end of a chain and its findings.
pub(super) fn print_chain(
    events: u64,
    position: i64,
    hash: &str,
    findings: &[Finding],
) -> Result<(), Failure> {
    output::line(&format!("{events} events up to {position}, hash {hash}"))?;
    for finding in findings {
        let place = finding.position.map_or_else(String::new, |at| format!("position {at}: "));
        output::line(&format!("{place}{}", finding.what))?;
    }
    Ok(())
}

/// Compares the read models with these names, or all of them, with the log.
async fn compare(
    options: ConnectOptions,
    mut names: Vec<String>,
) -> Result<rebuild::Results, Failure> {
    if names.is_empty() {
        names = projections::names().into_iter().map(str::to_owned).collect();
    }
    names.sort();
    names.dedup();
    rebuild::all(options, &names, Purpose::Compare, PARALLEL).await
}

fn bar(length: i64) -> ProgressBar {
    let bar = ProgressBar::new(length.unsigned_abs());
    let style = ProgressStyle::with_template("{bar:40} {pos}/{len} {per_sec} {eta}");
    bar.with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}

/// Verifies the log of a database, up to its current end. Returns the chain.
pub(super) async fn verify_log(
    reader: LogReader,
    findings: &mut Findings,
) -> Result<ChainVerifier, Failure> {
    let mut verification = LogVerification::begin(reader).await?;
    let bar = bar(verification.head().0);
    while let Some(found) = verification.next().await? {
        findings.add(found);
        bar.set_position(verification.walk().at().0.0.unsigned_abs());
    }
    bar.finish_and_clear();
    Ok(verification.into_walk())
}

/// Verifies a dump, line by line.
fn verify_dump(
    file: &Path,
    walk: &mut ChainVerifier,
    findings: &mut Findings,
) -> Result<(), Failure> {
    let open = File::open(file).with_context(|| format!("cannot open {}", file.display()))?;
    let size = open.metadata().map_err(anyhow::Error::from)?.len();
    let bar = bar(i64::try_from(size).unwrap_or(i64::MAX));
    for (number, line) in BufReader::new(open).lines().enumerate() {
        let line = line.map_err(anyhow::Error::from)?;
        let link = link(&line)
            .with_context(|| format!("line {} is not a line of a dump (see --help)", number + 1))?;
        findings.add(walk.check(link));
        bar.inc(line.len() as u64 + 1);
    }
    bar.finish_and_clear();
    Ok(())
}

/// Reads a line of a dump, in the text format of Postgres' COPY.
fn link(line: &str) -> anyhow::Result<HashedEvent> {
    let fields = line.split('\t').map(unescape).collect::<Option<Vec<_>>>();
    let fields = fields.context("it has an escape that COPY does not write")?;
    let Ok([position, id, stream, version, event_type, schema, data, metadata, micros, hash]) =
        <[String; 10]>::try_from(fields)
    else {
        return Err(anyhow!("it does not have ten columns"));
    };
    let digits = hash.strip_prefix("\\x").context("its hash is not hexadecimal")?;
    let byte = |at: usize| digits.get(at..at + 2).and_then(|two| u8::from_str_radix(two, 16).ok());
    let hash = (0..digits.len()).step_by(2).map(byte).collect::<Option<Vec<u8>>>();
    Ok(HashedEvent {
        event: RawEvent {
            position: Position(position.parse()?),
            id: id.parse()?,
            stream: StreamId::stored(stream),
            version: Version(version.parse()?),
            event_type: event_type.into(),
            schema_version: schema.parse()?,
            data: data.into(),
            metadata: metadata.into(),
            recorded_at: DateTime::from_timestamp_micros(micros.parse()?)
                .context("its time is out of range")?,
        },
        hash: hash.context("its hash is not hexadecimal")?,
    })
}

fn unescape(field: &str) -> Option<String> {
    let mut text = String::with_capacity(field.len());
    let mut characters = field.chars();
    while let Some(character) = characters.next() {
        text.push(match character {
            '\\' => match characters.next()? {
                'b' => '\u{8}',
                'f' => '\u{c}',
                'n' => '\n',
                'r' => '\r',
                't' => '\t',
                'v' => '\u{b}',
                '\\' => '\\',
                _ => return None,
            },
            other => other,
        });
    }
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_in_the_printed_json_never_change() {
        let report = Report {
            ok: false,
            events: 1,
            position: 2,
            hash: "h".into(),
            count: 3,
            findings: Vec::new(),
            projections: Some(Vec::new()),
        };
        assert_eq!(
            serde_json::to_string(&report).unwrap(),
            r#"{"ok":false,"events":1,"position":2,"hash":"h","count":3,"findings":[],"projections":[]}"#
        );
    }
}
