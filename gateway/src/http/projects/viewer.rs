//! Which projects and tasks a caller may see.

use domain::Role;
use projections::projects::Viewer;

use super::super::prelude::*;

/// Operators and administrators see all projects, users those they own or are a member of.
pub(super) fn viewer(caller: &Caller) -> Result<Viewer, Problem> {
    if caller.role >= Role::Operator {
        return Ok(Viewer::All); // Without an id: an operator may be a program.
    }
    Ok(Viewer::User(caller.user()?.id))
}
