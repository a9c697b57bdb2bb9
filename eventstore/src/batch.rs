//! One batch, one transaction: lock the head, judge every request against the log and against the
//! requests accepted before it, write what was accepted, move the head, commit.

use std::collections::HashMap;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use domain::{Position, Version};
use sqlx::{AssertSqlSafe, PgConnection, Row};
use uuid::Uuid;

use crate::append::{Append, AppendError, Appended};
use crate::chain::Link;
use crate::copy::{NewRow, Rows};
use crate::receipt::{self, NewReceipt, Receipt};

pub(crate) type Outcome = Result<Appended, AppendError>;

/// Writes what of `requests` can be accepted, and commits. Returns an outcome for each, and the
/// head afterwards.
pub(crate) async fn write(
    connection: &mut PgConnection,
    requests: &[Append],
) -> Result<(Vec<Outcome>, Position), sqlx::Error> {
    let head = lock_head(connection).await?;
    let known = Known::load(connection, requests).await?;
    let mut judge = Judge {
        rows: Rows::new(head.recorded_at),
        head,
        receipts: Vec::new(),
        known,
    };
    let mut outcomes = Vec::with_capacity(requests.len());
    for request in requests {
        outcomes.push(judge.judge(request)?);
    }
    let Judge {
        head,
        rows,
        receipts,
        ..
    } = judge;
    if rows.is_empty() && receipts.is_empty() {
        sqlx::raw_sql("rollback").execute(&mut *connection).await?;
        return Ok((outcomes, head.position));
    }
    let events = rows.len();
    if !rows.is_empty() {
        rows.write(connection).await?;
    }
    if !receipts.is_empty() {
        insert_receipts(connection, &receipts, head.recorded_at).await?;
    }
    move_head_and_commit(connection, &head).await?;
    metrics::counter!("tributary_events_appended_total").increment(events as u64);
    #[expect(clippy::cast_precision_loss, reason = "a batch is small")]
    metrics::histogram!("tributary_append_batch_events").record(events as f64);
    Ok((outcomes, head.position))
}

/// The end of the log, held under lock.
struct Head {
    position: Position,
    /// The time of this batch; never before that of the last.
    recorded_at: DateTime<Utc>,
    hash: Vec<u8>,
}

/// From here to the commit nobody else appends. What is read after this statement, not with it,
/// is what the batch is judged against.
async fn lock_head(connection: &mut PgConnection) -> Result<Head, sqlx::Error> {
    let row = sqlx::raw_sql(
        "begin;
         select position, greatest(clock_timestamp(), recorded_at) as recorded_at, hash
         from log.head for update",
    )
    .fetch_one(connection)
    .await?;
    Ok(Head {
        position: Position(row.try_get("position")?),
        recorded_at: row.try_get("recorded_at")?,
        hash: row.try_get("hash")?,
    })
}

async fn move_head_and_commit(
    connection: &mut PgConnection,
    head: &Head,
) -> Result<(), sqlx::Error> {
    let hash = head
        .hash
        .iter()
        .fold(String::with_capacity(64), |text, byte| {
            text + &format!("{byte:02x}")
        });
    // Numbers and hexadecimal digits only. One round trip instead of two.
    let sql = format!(
        "update log.head set position = {}, hash = '\\x{hash}', recorded_at = '{}';
         commit",
        head.position,
        head.recorded_at.format("%Y-%m-%d %H:%M:%S%.6f+00"),
    );
    sqlx::raw_sql(AssertSqlSafe(sql))
        .execute(connection)
        .await?;
    Ok(())
}

/// What the log says about everything the batch mentions, and what the batch adds to it.
struct Known<'a> {
    versions: HashMap<&'a str, i64>,
    event_ids: HashMap<Uuid, Position>,
    receipts: HashMap<&'a str, Receipt>,
}

impl<'a> Known<'a> {
    async fn load(
        connection: &mut PgConnection,
        requests: &'a [Append],
    ) -> Result<Self, sqlx::Error> {
        let mut versions: HashMap<&str, i64> = HashMap::new();
        let mut ids = Vec::new();
        let mut keys = Vec::new();
        for request in requests {
            keys.extend(request.receipt.as_ref().map(|receipt| receipt.key.as_str()));
            for part in &request.streams {
                versions.insert(part.stream.as_str(), 0);
                ids.extend(part.events.iter().map(|event| event.id));
            }
        }
        let streams: Vec<&str> = versions.keys().copied().collect();
        // Correlated on purpose: each look-up is one descent of one index, whatever the planner
        // believes about the size of the table.
        let row = sqlx::query(
            "select
               array(select (select e.version from log.event e where e.stream_id = s.id
                             order by e.version desc limit 1)
                     from unnest($1::text[]) with ordinality s (id, n) order by s.n),
               array(select (select e.position from log.event e where e.event_id = i.id)
                     from unnest($2::uuid[]) with ordinality i (id, n) order by i.n)",
        )
        .bind(&streams)
        .bind(&ids)
        .fetch_one(&mut *connection)
        .await?;
        let found_versions: Vec<Option<i64>> = row.try_get(0)?;
        let found_positions: Vec<Option<i64>> = row.try_get(1)?;
        for (stream, version) in streams.iter().zip(found_versions) {
            versions.insert(stream, version.unwrap_or(0));
        }
        let event_ids = ids
            .into_iter()
            .zip(found_positions)
            .filter_map(|(id, position)| Some((id, Position(position?))))
            .collect();
        let receipts = load_receipts(connection, &keys).await?;
        Ok(Self {
            versions,
            event_ids,
            receipts,
        })
    }
}

async fn load_receipts<'a>(
    connection: &mut PgConnection,
    keys: &[&'a str],
) -> Result<HashMap<&'a str, Receipt>, sqlx::Error> {
    if keys.is_empty() {
        return Ok(HashMap::new());
    }
    let rows = sqlx::query(
        "select k.n, r.fingerprint, r.position, r.response::text as response
         from unnest($1::text[]) with ordinality k (key, n)
         cross join lateral (select * from log.receipt r where r.key = k.key offset 0) r",
    )
    .bind(keys)
    .fetch_all(connection)
    .await?;
    rows.iter()
        .map(|row| {
            let n = usize::try_from(row.try_get::<i64, _>("n")? - 1).unwrap_or_default();
            Ok((keys[n], receipt::from_row(row)?))
        })
        .collect()
}

async fn insert_receipts(
    connection: &mut PgConnection,
    receipts: &[(&NewReceipt, Position)],
    recorded_at: DateTime<Utc>,
) -> Result<(), sqlx::Error> {
    let keys: Vec<&str> = receipts.iter().map(|(new, _)| new.key.as_str()).collect();
    let fingerprints: Vec<&[u8]> = receipts
        .iter()
        .map(|(new, _)| &new.fingerprint[..])
        .collect();
    let positions: Vec<i64> = receipts.iter().map(|(_, position)| position.0).collect();
    let responses: Vec<&str> = receipts.iter().map(|(new, _)| &*new.response).collect();
    sqlx::query(
        "insert into log.receipt (key, fingerprint, position, response, recorded_at)
         select r.key, r.fingerprint, r.position, r.response::json, $5
         from unnest($1::text[], $2::bytea[], $3::bigint[], $4::text[])
           as r (key, fingerprint, position, response)",
    )
    .bind(keys)
    .bind(fingerprints)
    .bind(positions)
    .bind(responses)
    .bind(recorded_at)
    .execute(connection)
    .await?;
    Ok(())
}

/// Judges request after request, each against the log and what was accepted before it.
struct Judge<'a> {
    head: Head,
    rows: Rows<'a>,
    receipts: Vec<(&'a NewReceipt, Position)>,
    known: Known<'a>,
}

impl<'a> Judge<'a> {
    /// Refuses the request, or gives it its place. The outer error is a defect of ours.
    fn judge(&mut self, request: &'a Append) -> Result<Outcome, sqlx::Error> {
        if let Some(new) = &request.receipt
            && let Some(receipt) = self.known.receipts.get(new.key.as_str())
        {
            return Ok(if receipt.fingerprint == new.fingerprint {
                Ok(Appended::Replayed(receipt.clone()))
            } else {
                Err(AppendError::KeyReused)
            });
        }
        let mut events = request.streams.iter().flat_map(|part| &part.events);
        if let Some(position) = events.find_map(|event| self.known.event_ids.get(&event.id)) {
            return Ok(Ok(Appended::Duplicate {
                position: *position,
            }));
        }
        for part in &request.streams {
            let actual = Version(self.known.versions[part.stream.as_str()]);
            if !part.expected.allows(actual) {
                let stream = part.stream.clone();
                return Ok(Err(AppendError::Conflict {
                    stream,
                    expected: part.expected,
                    actual,
                }));
            }
        }
        let metadata = serde_json::to_string(&request.metadata)
            .map_err(|error| sqlx::Error::Encode(error.into()))?;
        self.accept(request, &metadata.into());
        Ok(Ok(self.outcome(request)))
    }

    fn accept(&mut self, request: &'a Append, metadata: &Arc<str>) {
        for part in &request.streams {
            let stream = part.stream.as_str();
            let version = self
                .known
                .versions
                .get_mut(stream)
                .expect("every stream was looked up");
            for event in &part.events {
                self.head.position.0 += 1;
                *version += 1;
                let link = Link {
                    position: self.head.position,
                    version: *version,
                    recorded_at_micros: self.head.recorded_at.timestamp_micros(),
                    id: event.id.as_bytes(),
                    schema_version: event.encoded.schema_version,
                    event_type: &event.encoded.event_type,
                    stream,
                    data: &event.encoded.data,
                    metadata,
                };
                let hash = link.hash(&self.head.hash);
                self.rows.push(NewRow {
                    position: link.position.0,
                    version: link.version,
                    stream,
                    event,
                    metadata: Arc::clone(metadata),
                    hash,
                });
                self.head.hash.clear();
                self.head.hash.extend_from_slice(&hash);
                self.known.event_ids.insert(event.id, self.head.position);
            }
        }
        if let Some(new) = &request.receipt {
            self.receipts.push((new, self.head.position));
            let receipt = Receipt {
                fingerprint: new.fingerprint.to_vec(),
                position: self.head.position,
                response: new.response.clone(),
            };
            self.known.receipts.insert(&new.key, receipt);
        }
    }

    fn outcome(&self, request: &Append) -> Appended {
        let version = request
            .streams
            .first()
            .map_or(0, |part| self.known.versions[part.stream.as_str()]);
        Appended::New {
            position: self.head.position,
            version: Version(version),
        }
    }
}
