//! The error that operations on the log share, and errors as text with their causes.

use std::error::Error;
use std::fmt;
use std::io::ErrorKind;
use std::sync::Arc;

use crate::tls_fault::TlsFault;

/// Postgres could not read or write the log. The request was not at fault and may be sent again.
///
/// The message says what failed and what to do; the source says why. [`ErrorChain`] prints both.
/// Clones share the cause: it is that of every request of a batch.
#[derive(Debug, Clone)]
pub struct Unavailable {
    cause: Arc<sqlx::Error>,
    /// What is known beyond the error of Postgres.
    note: Option<Arc<str>>,
}

impl Unavailable {
    /// Adds what is known beyond the error of Postgres.
    pub(crate) fn noting(mut self, note: &str) -> Self {
        self.note = Some(note.into());
        self
    }

    /// Returns the error of Postgres or of the connection to it.
    pub fn cause(&self) -> &sqlx::Error {
        &self.cause
    }

    /// Returns whether Postgres could not write because its disk is full.
    pub fn is_disk_full(&self) -> bool {
        sqlstate(&self.cause).as_deref() == Some("53100")
    }

    /// Returns whether Postgres reported the error itself, or what it sent could not be decoded; if
    /// not, there was no connection.
    pub fn reached(&self) -> bool {
        matches!(*self.cause, sqlx::Error::Database(_) | sqlx::Error::Decode(_))
    }
}

impl From<sqlx::Error> for Unavailable {
    fn from(error: sqlx::Error) -> Self {
        Self { cause: Arc::new(error), note: None }
    }
}

impl fmt::Display for Unavailable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(description(&self.cause))?;
        match &self.note {
            Some(note) => write!(f, ": {note}"),
            None => Ok(()),
        }
    }
}

impl Error for Unavailable {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        // A note is more exact than what Postgres reported.
        if self.note.is_none() { Some(&*self.cause) } else { None }
    }
}

/// Returns the SQLSTATE of an error that Postgres or a pooler reported.
pub(crate) fn sqlstate(error: &sqlx::Error) -> Option<String> {
    Some(error.as_database_error()?.code()?.into_owned())
}

/// What happened, and what to do about it.
fn description(error: &sqlx::Error) -> &'static str {
    match error {
        sqlx::Error::Database(database) => {
            let code = sqlstate(error).unwrap_or_default();
            refused(&code, database.message()).unwrap_or_else(|| reported(&code))
        }
        sqlx::Error::Io(_) | sqlx::Error::Tls(_) if tls_fault(error).is_some() => {
            tls_fault(error).unwrap_or_default()
        }
        sqlx::Error::Decode(_) | sqlx::Error::ColumnDecode { .. } => {
            "cannot decode a row of the log"
        }
        sqlx::Error::Io(error) => match error.kind() {
            ErrorKind::ConnectionRefused => {
                "Postgres refused the connection: check that it runs, and host and port of the URL"
            }
            ErrorKind::TimedOut => "Postgres did not answer in time",
            ErrorKind::ConnectionReset | ErrorKind::UnexpectedEof | ErrorKind::BrokenPipe => {
                "Postgres closed the connection"
            }
            _ => "cannot reach Postgres: check its URL",
        },
        sqlx::Error::PoolTimedOut => {
            "no connection to Postgres became free in time: Postgres or its pooler is unreachable \
             or has none left, or all connections of this process are in use"
        }
        sqlx::Error::PoolClosed | sqlx::Error::WorkerCrashed => {
            "the connections to Postgres are closed: the process is shutting down"
        }
        sqlx::Error::Tls(_) => {
            "cannot encrypt the connection to Postgres: check --database-ca-file, \
             --database-cert-file and --database-key-file"
        }
        sqlx::Error::Protocol(_) => "what answers at the URL of Postgres is another server",
        sqlx::Error::RowNotFound => "the log is not migrated: run `tributary migrate`",
        _ => "cannot reach the log in Postgres",
    }
}

/// The same for a fault of TLS.
fn tls_fault(error: &sqlx::Error) -> Option<&'static str> {
    Some(match TlsFault::of(&error.to_string())? {
        TlsFault::UnknownIssuer => {
            "the certificate of Postgres was issued by an unknown CA: set --database-ca-file to the \
             certificates of that CA"
        }
        TlsFault::OtherName => {
            "the certificate of Postgres is for another host name: use one of its names in the URL"
        }
        TlsFault::Certificate => "the certificate of Postgres is not valid: renew it",
        TlsFault::ClientCertificate => CLIENT_CERTIFICATE,
        TlsFault::NotOffered => {
            "Postgres does not offer TLS: set `ssl = on` on the server, or remove \
             --database-ca-file and the sslmode in the URL"
        }
    })
}

const CLIENT_CERTIFICATE: &str = "Postgres demands a client certificate of a CA that it trusts: set \
    --database-cert-file and --database-key-file";

/// The same for a connection that `pg_hba.conf` does not allow. Its messages may be translated.
fn refused(sqlstate: &str, message: &str) -> Option<&'static str> {
    if !sqlstate.starts_with("28") {
        None
    } else if message.contains("client certificate") {
        Some(CLIENT_CERTIFICATE)
    } else if message.contains("no encryption") {
        Some(
            "Postgres accepts this role from here over TLS only (pg_hba.conf): remove \
             `sslmode=disable` from the URL, or set --database-ca-file",
        )
    } else if message.contains("no pg_hba.conf entry") {
        Some("pg_hba.conf of Postgres has no entry for this role, database and address: add one")
    } else {
        None
    }
}

/// The same for an error with a SQLSTATE.
fn reported(sqlstate: &str) -> &'static str {
    match sqlstate {
        "08P01" => "Postgres or its connection pooler refused the connection",
        "26000" | "42P05" => {
            "a prepared statement was lost: a connection pooler must use session pooling"
        }
        "25006" => "Postgres is read-only: the URL points to a standby",
        "25P03" => "Postgres ended the session, which was idle in a transaction for too long",
        "28000" | "28P01" => {
            "Postgres refused the role or its password: check the URL, and --database-password"
        }
        "3D000" => "the database does not exist: create it, or check the URL",
        "3F000" | "42P01" | "42703" | "42883" => {
            "a table of the log is missing: run `tributary migrate`"
        }
        "42501" => {
            "the role may not use the log: run `tributary migrate`, or check the role in the URL"
        }
        "53100" => "the disk of Postgres is full: free space on it",
        "53200" => "Postgres is out of memory",
        "53300" => {
            "Postgres has no connection left: raise max_connections, or lower \
             --database-connections"
        }
        "55P03" => "another session holds a lock for too long",
        "57014" => "a statement took too long and was cancelled",
        "57P01" | "57P02" => "Postgres ended the session",
        "57P03" => "Postgres is starting up or shutting down",
        _ => "Postgres rejected a statement on the log",
    }
}

/// Displays an error followed by its sources, separated by `: `.
///
/// Leaves out a source that the message before already ends with, since many libraries repeat
/// theirs.
#[derive(Debug, Clone, Copy)]
pub struct ErrorChain<'a>(pub &'a (dyn Error + 'a));

impl fmt::Display for ErrorChain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut message = self.0.to_string();
        f.write_str(&message)?;
        let mut source = self.0.source();
        while let Some(error) = source {
            let cause = error.to_string();
            if !message.ends_with(&cause) {
                write!(f, ": {cause}")?;
            }
            message = cause;
            source = error.source();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_chain_names_each_cause_once() {
        let refused = std::io::Error::new(ErrorKind::ConnectionRefused, "connection refused");
        let error = Unavailable::from(sqlx::Error::Io(refused));
        assert_eq!(
            ErrorChain(&error).to_string(),
            "Postgres refused the connection: check that it runs, and host and port of the URL: \
             error communicating with database: connection refused"
        );
    }

    #[test]
    fn a_note_stands_in_for_the_cause() {
        let error = Unavailable::from(sqlx::Error::RowNotFound).noting("migration 7 is missing");
        let expected = "the log is not migrated: run `tributary migrate`: migration 7 is missing";
        assert_eq!(ErrorChain(&error).to_string(), expected);
    }
}
