//! Columns of text as the console prints them.

use std::fmt::Write;

/// Rows under a header, columns as wide as their widest cell.
#[derive(Debug)]
pub(crate) struct Table {
    header: Vec<&'static str>,
    right: Vec<bool>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table with these columns. A header that begins with `>` names a column that is aligned to the right.
    pub(crate) fn new(header: &[&'static str]) -> Self {
        Self {
            header: header.iter().map(|name| name.trim_start_matches('>')).collect(),
            right: header.iter().map(|name| name.starts_with('>')).collect(),
            rows: Vec::new(),
        }
    }

    /// Adds a row with one cell for every column.
    pub(crate) fn row<const N: usize>(&mut self, cells: [String; N]) {
        self.rows.push(cells.into());
    }

    /// Header, a line of dashes, and at most `limit` rows; says how many are left out.
    pub(crate) fn print(&self, limit: usize, out: &mut String) {
        self.print_of(self.rows.len(), limit, out);
    }

    /// The same for a table of `total` rows of which only the first `limit` need have been built.
    pub(crate) fn print_of(&self, total: usize, limit: usize, out: &mut String) {
        let widths: Vec<usize> = (0..self.header.len())
            .map(|column| {
                let cells = self.rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count());
                cells.chain(self.header.get(column).map(|name| name.len())).max().unwrap_or(0)
            })
            .collect();
        let line = |out: &mut String, cells: &mut dyn Iterator<Item = &str>| {
            let mut text = String::new();
            for ((cell, width), right) in cells.zip(&widths).zip(&self.right) {
                let _ = if *right { write!(text, "{cell:>width$}  ") } else { write!(text, "{cell:<width$}  ") };
            }
            out.push_str(text.trim_end());
            out.push('\n');
        };
        line(out, &mut self.header.iter().copied());
        let dashes: Vec<String> = widths.iter().map(|width| "-".repeat(*width)).collect();
        line(out, &mut dashes.iter().map(String::as_str));
        for row in self.rows.iter().take(limit) {
            line(out, &mut row.iter().map(String::as_str));
        }
        let more = total.saturating_sub(limit);
        if more > 0 {
            let _ = writeln!(out, "({more} more; -num=all shows them)");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let mut table = Table::new(&["IPsec Tunnel", ">Metric"]);
        table.row(["hq".into(), "90".into()]);
        table.row(["a_rather_long_name".into(), "100".into()]);
        table.row(["third".into(), "1".into()]);
        let mut out = String::new();
        table.print(2, &mut out);
        assert_eq!(
            out,
            "IPsec Tunnel        Metric\n\
             ------------------  ------\n\
             hq                      90\n\
             a_rather_long_name     100\n\
             (1 more; -num=all shows them)\n"
        );
    }

    #[test]
    fn rows_that_were_never_built_are_counted() {
        let mut table = Table::new(&["A"]);
        table.row(["1".into()]);
        let mut out = String::new();
        table.print_of(100_000, 1, &mut out);
        assert_eq!(out, "A\n-\n1\n(99999 more; -num=all shows them)\n");
    }
}
