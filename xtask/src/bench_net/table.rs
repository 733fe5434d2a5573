//! The figures for people, the goals, and the figures for programs.

use serde_json::json;

use super::Setting;
use super::capture::Wire;
use super::contenders::Carrier;
use super::measure::Figures;
use crate::report::Outcome;

/// A machine that was busier than this before a row began has other work.
const QUIET: f64 = 0.15;

/// What one contender did in one setting.
pub struct Row {
    /// Its name.
    pub contender: &'static str,
    /// What its packets were to look like.
    pub carrier: Carrier,
    /// What the machine did before, from 0 to 1.
    pub busy: Option<f64>,
    /// What was on the wire.
    pub wire: Wire,
    /// The measurements.
    pub figures: Figures,
}

impl Row {
    /// Failed when the wire says that the figures mean nothing.
    pub fn verdict(&self) -> Outcome {
        match self.wire.objection(self.carrier) {
            None => Outcome::Passed,
            Some(why) => Outcome::Failed(format!("{}: invalid: {why}", self.contender)),
        }
    }

    fn valid(&self) -> bool {
        self.verdict() == Outcome::Passed
    }
}

/// How many times the TCP rate of whom adit is to have, by setting.
const GOALS: [(Setting, &str, f64); 5] = [
    (Setting::Off, "strongswan", 3.5),
    (Setting::Off, "wireguard-go", 2.5),
    (Setting::Off, "plain", 0.5),
    (Setting::On, "strongswan", 9.0),
    (Setting::On, "wireguard-go", 3.0),
];

/// The table of one setting.
pub fn table(setting: Setting, rows: &[Row]) -> String {
    let mut text = format!(
        "{}\n{:<14}{:>9}{:>9}{:>12}{:>9}{:>9}{:>9}  {}\n{:<14}{:>9}{:>9}{:>12}{:>9}{:>9}{:>9}\n",
        setting.title(),
        "",
        "TCP",
        "TCP",
        "UDP 1300 B",
        "64 B",
        "ping",
        "ping",
        "between the gateways",
        "",
        "forward",
        "reverse",
        "loss < 1 %",
        "< 1 %",
        "median",
        "99 %",
    );
    text.push_str(&format!(
        "{:<14}{:>9}{:>9}{:>12}{:>9}{:>9}{:>9}\n",
        "", "Gbit/s", "Gbit/s", "Gbit/s", "kpps", "ms", "ms"
    ));
    for row in rows {
        let figures = &row.figures;
        let wire = match row.wire.objection(row.carrier) {
            Some(why) => format!("INVALID: {why}"),
            None if row.carrier == Carrier::Clear => format!("{} frames of clear text", row.wire.clear),
            None => format!("{} frames of {}, none clear", row.wire.carrier, row.carrier.title()),
        };
        let busy = row.busy.filter(|busy| *busy > QUIET);
        text.push_str(&format!(
            "{:<14}{:>9.2}{:>9.2}{:>12}{:>9}{:>9.3}{:>9.3}  {wire}{}\n",
            row.contender,
            figures.tcp_forward / 1e9,
            figures.tcp_reverse / 1e9,
            optional(figures.large_bits().map(|rate| rate / 1e9), 2),
            optional(figures.small.map(|rate| rate / 1e3), 0),
            figures.ping_median * 1e3,
            figures.ping_high * 1e3,
            busy.map_or_else(String::new, |busy| format!("; the machine was {:.0} % busy before", busy * 100.0)),
        ));
    }
    text
}

fn optional(value: Option<f64>, digits: usize) -> String {
    value.map_or_else(|| "none".to_owned(), |value| format!("{value:.digits$}"))
}

/// Adit's TCP rate, the mean of both directions, beside that of the others.
pub fn goals(setting: Setting, rows: &[Row]) -> String {
    let mut text = String::new();
    for own in rows.iter().filter(|row| row.contender.starts_with("adit")) {
        for (_, name, wanted) in GOALS.iter().filter(|goal| goal.0 == setting) {
            let Some(other) = rows.iter().find(|row| row.contender == *name) else { continue };
            let ratio = own.figures.tcp() / other.figures.tcp();
            let verdict = if !own.valid() || !other.valid() {
                "does not count"
            } else if ratio >= *wanted {
                "met"
            } else {
                "NOT met"
            };
            text.push_str(&format!("{}: {ratio:.2} times {name} (goal {wanted}): {verdict}\n", own.contender));
        }
    }
    text
}

/// One figure a line, as JSON.
pub fn figures(setting: Setting, rows: &[Row]) -> String {
    let mut text = String::new();
    for row in rows {
        let figures = &row.figures;
        let values = [
            ("tcp_forward", "bit/s", Some(figures.tcp_forward)),
            ("tcp_reverse", "bit/s", Some(figures.tcp_reverse)),
            ("udp_1300", "packets/s", figures.large),
            ("udp_64", "packets/s", figures.small),
            ("ping_median", "s", Some(figures.ping_median)),
            ("ping_99", "s", Some(figures.ping_high)),
        ];
        for (measure, unit, value) in values {
            let line = json!({
                "setting": setting.name(), "contender": row.contender, "measure": measure, "value": value, "unit": unit,
                "valid": row.valid(), "busy_before": row.busy,
            });
            text.push_str(&format!("{line}\n"));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(contender: &'static str, carrier: Carrier, rate: f64) -> Row {
        let wire = match carrier {
            Carrier::Clear => Wire { clear: 400, ..Wire::default() },
            _ => Wire { carrier: 400, ..Wire::default() },
        };
        let figures = Figures { tcp_forward: rate, tcp_reverse: rate, ..Figures::default() };
        Row { contender, carrier, busy: None, wire, figures }
    }

    #[test]
    fn goals_are_ratios_within_one_run() {
        let rows = [
            row("plain", Carrier::Clear, 5.0e9),
            row("adit-udp", Carrier::EspInUdp, 2.8e9),
            row("strongswan", Carrier::EspInUdp, 0.9e9),
        ];
        let text = goals(Setting::Off, &rows);
        assert_eq!(
            text,
            "adit-udp: 3.11 times strongswan (goal 3.5): NOT met\nadit-udp: 0.56 times plain (goal 0.5): met\n"
        );
        assert_eq!(goals(Setting::Gro, &rows), "");
    }

    #[test]
    fn a_row_whose_wire_shows_inner_addresses_does_not_count() {
        let mut own = row("adit-udp", Carrier::EspInUdp, 9.0e9);
        own.wire.clear = 1;
        let rows = [own, row("strongswan", Carrier::EspInUdp, 0.9e9)];
        assert!(goals(Setting::Off, &rows).contains("does not count"));
        assert!(table(Setting::Off, &rows).contains("INVALID: 1 frames"));
        assert!(matches!(rows[0].verdict(), Outcome::Failed(_)));
    }

    #[test]
    fn every_figure_is_a_line_of_json() {
        let text = figures(Setting::On, &[row("plain", Carrier::Clear, 5.0e9)]);
        assert_eq!(text.lines().count(), 6);
        let first: serde_json::Value = serde_json::from_str(text.lines().next().unwrap()).unwrap();
        assert_eq!((&first["contender"], &first["value"]), (&json!("plain"), &json!(5.0e9)));
        let none: serde_json::Value = serde_json::from_str(text.lines().nth(2).unwrap()).unwrap();
        assert!(none["value"].is_null());
    }
}
