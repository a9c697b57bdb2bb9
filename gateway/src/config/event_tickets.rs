//! Options of tickets, with which a browser opens an event stream without a header.

use clap::Args;
use domain::Role;
use serde::Serialize;

use super::Span;

/// Tickets for event streams.
#[derive(Debug, Clone, Copy, Args, Serialize)]
#[command(next_help_heading = "Tickets for event streams")]
pub struct EventTickets {
    /// Lowest role that may request tickets: `user`, `operator` or `admin`
    #[arg(long, env = "EVENT_TICKET_ROLE", value_name = "ROLE", default_value = "user")]
    pub event_ticket_role: Role,
    /// Time within which a ticket must be used, with a unit; 1s to 5m
    #[arg(long, env = "EVENT_TICKET_TTL", value_name = "TIME", default_value = "30s")]
    pub event_ticket_ttl: Span,
}

impl EventTickets {
    /// Returns a message for each value that is out of range.
    pub(super) fn mistakes(self) -> Option<String> {
        let seconds = self.event_ticket_ttl.0.as_secs();
        let wrong = !(1..=300).contains(&seconds);
        wrong.then(|| format!("--event-ticket-ttl must be 1s to 5m, not {}", self.event_ticket_ttl))
    }
}
