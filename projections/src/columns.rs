//! Sets of rows as arguments of one statement: an array for each column, read by `unnest`.

use sqlx::error::BoxDynError;
use sqlx::postgres::PgArguments;
use sqlx::{Arguments, Encode, PgConnection, Postgres, Type};

/// The columns of `rows`. A column is named once; its number and type follow.
pub(crate) struct Columns<'r, R> {
    rows: &'r [R],
    names: Vec<&'static str>,
    /// What an insert selects: each name, with its cast.
    selected: Vec<String>,
    arguments: PgArguments,
    failed: Option<BoxDynError>,
}

impl<'r, R> Columns<'r, R> {
    pub(crate) fn of(rows: &'r [R]) -> Self {
        let (names, selected) = (Vec::new(), Vec::new());
        Self { rows, names, selected, arguments: PgArguments::default(), failed: None }
    }

    /// Adds a column: its name, and its value in a row.
    pub(crate) fn column<T: 'r>(self, name: &'static str, value: impl Fn(&'r R) -> T) -> Self
    where
        Vec<T>: Encode<'r, Postgres> + Type<Postgres>,
    {
        self.add(name, name.to_owned(), value)
    }

    /// Adds a column that [`Self::insert`] casts to the type `cast`.
    pub(crate) fn cast<T: 'r>(
        self,
        name: &'static str,
        cast: &str,
        value: impl Fn(&'r R) -> T,
    ) -> Self
    where
        Vec<T>: Encode<'r, Postgres> + Type<Postgres>,
    {
        self.add(name, format!("{name}::{cast}"), value)
    }

    fn add<T: 'r>(
        mut self,
        name: &'static str,
        selected: String,
        value: impl Fn(&'r R) -> T,
    ) -> Self
    where
        Vec<T>: Encode<'r, Postgres> + Type<Postgres>,
    {
        let values: Vec<T> = self.rows.iter().map(value).collect();
        self.failed = self.failed.or(self.arguments.add(values).err());
        self.names.push(name);
        self.selected.push(selected);
        self
    }

    /// Inserts the rows into `table`; `then` ends the statement: `on conflict …`, or nothing.
    pub(crate) async fn insert(
        self,
        table: &str,
        then: &str,
        connection: &mut PgConnection,
    ) -> Result<(), sqlx::Error> {
        let statement = self.insert_statement(table, then);
        self.execute(&statement, connection).await
    }

    /// Executes a statement in which `{n}` stands for the rows, as a table named `n`. Without rows
    /// it does nothing.
    pub(crate) async fn execute(
        self,
        statement: &str,
        connection: &mut PgConnection,
    ) -> Result<(), sqlx::Error> {
        if self.rows.is_empty() {
            return Ok(());
        }
        let statement = self.complete(statement);
        sqlx::query_with(&statement, self.arguments()?).execute(connection).await?;
        Ok(())
    }

    fn insert_statement(&self, table: &str, then: &str) -> String {
        let (names, selected) = (self.names.join(", "), self.selected.join(", "));
        format!("insert into {table} ({names}) select {selected} from {{n}} {then}")
    }

    fn complete(&self, statement: &str) -> String {
        let arrays: Vec<_> = (1..=self.names.len()).map(|number| format!("${number}")).collect();
        let rows = format!("unnest({}) as n ({})", arrays.join(", "), self.names.join(", "));
        statement.replace("{n}", &rows)
    }

    fn arguments(self) -> Result<PgArguments, sqlx::Error> {
        self.failed.map_or(Ok(self.arguments), |error| Err(sqlx::Error::Encode(error)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_column_is_named_once() {
        let rows = [(1_i64, "a"), (2, "b")];
        let columns =
            Columns::of(&rows).column("id", |row| row.0).cast("name", "json", |row| row.1);
        assert_eq!(columns.selected, ["id", "name::json"]);
        let statement = columns.complete("delete from t using {n} where t.id = n.id");
        let expected = "delete from t using unnest($1, $2) as n (id, name) where t.id = n.id";
        assert_eq!(statement, expected);
    }
}
