//! Aligned tables for people.

/// A column is not wider than this for the sake of one cell, characters; a longer one has a line for itself.
const WIDTH_MAX: usize = 60;

/// Rows under headings; a column is as wide as its widest cell.
#[derive(Debug)]
pub struct Table {
    columns: Vec<Column>,
    rows: Vec<Vec<String>>,
}

#[derive(Debug)]
struct Column {
    heading: &'static str,
    right: bool,
}

impl Table {
    /// A heading that begins with `>` aligns its column to the right, as figures want.
    #[must_use]
    pub fn new(headings: &[&'static str]) -> Table {
        let column = |heading: &&'static str| match heading.strip_prefix('>') {
            Some(heading) => Column { heading, right: true },
            None => Column { heading, right: false },
        };
        Table { columns: headings.iter().map(column).collect(), rows: Vec::new() }
    }

    /// Adds a row; cells beyond the headings are not shown, missing ones are empty.
    pub fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        // A line break or escape sequence in a name must not break the table or the terminal.
        let clean = |cell: String| cell.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect();
        self.rows.push(cells.into_iter().map(clean).collect());
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The whole table, a line a row, without spaces at line ends.
    #[must_use]
    pub fn render(&self) -> String {
        let headings: Vec<String> = self.columns.iter().map(|column| column.heading.to_owned()).collect();
        let widths: Vec<usize> = (0..self.columns.len())
            .map(|index| {
                let cells = self.rows.iter().chain([&headings]).filter_map(|row| row.get(index));
                cells.map(|cell| cell.chars().count()).filter(|width| *width <= WIDTH_MAX).max().unwrap_or(0)
            })
            .collect();
        let mut out = String::new();
        for row in [&headings].into_iter().chain(&self.rows) {
            let mut line = String::new();
            for (index, (column, width)) in self.columns.iter().zip(&widths).enumerate() {
                let cell = row.get(index).map_or("", String::as_str);
                let gap = if index == 0 { "" } else { "  " };
                let is_last = index + 1 == self.columns.len();
                if cell.chars().count() > *width && !is_last {
                    // What follows stands where it always does, a line below.
                    let below = line.chars().count() + gap.len() + width;
                    line.push_str(&format!("{gap}{cell}\n{:below$}", ""));
                } else if column.right {
                    line.push_str(&format!("{gap}{cell:>width$}"));
                } else {
                    line.push_str(&format!("{gap}{cell:<width$}"));
                }
            }
            out.push_str(line.trim_end());
            out.push('\n');
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned() {
        let mut table = Table::new(&["TOPIC", ">RECORDS", "NOTE"]);
        table.row(["temp".to_owned(), "7".to_owned(), "a\u{1b}[31mb".to_owned()]);
        table.row(["humidity".to_owned(), "123456".to_owned()]);
        assert_eq!(table.render(), "TOPIC     RECORDS  NOTE\ntemp            7  a\u{fffd}[31mb\nhumidity   123456\n");
    }

    #[test]
    fn one_long_name_does_not_push_the_others_apart() {
        let (mut table, long) = (Table::new(&["A", "TOPIC", ">RECORDS"]), "x".repeat(WIDTH_MAX + 1));
        table.row(["1".to_owned(), "temp".to_owned(), "7".to_owned()]);
        table.row(["2".to_owned(), long.clone(), "8".to_owned()]);
        assert_eq!(table.render(), format!("A  TOPIC  RECORDS\n1  temp         7\n2  {long}\n                8\n"));
    }
}
