//! What is armed, read from text: `intent-kept=kill@3; hook-read=delay:50*2; job-run=fail%10`.

use std::time::Duration;

use crate::Point;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// The process ends as by `kill -9`.
    Kill,
    Panic,
    /// [`crate::fails`] answers yes; at other points nothing happens.
    Fail,
    Delay(Duration),
    /// Until the point is disarmed.
    Pause,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    pub point: Point,
    pub action: Action,
    /// The first hit that counts, from 1, counted since the rule was armed.
    from: u64,
    times: u64,
    /// Of 100 hits that count, so many act.
    percent: u64,
    seen: u64,
}

impl Rule {
    /// Whether this hit acts. `draw` is below 100.
    pub fn acts(&mut self, draw: u64) -> bool {
        self.seen += 1;
        let due = self.seen >= self.from && self.seen - self.from < self.times;
        due && draw < self.percent
    }
}

/// Rules separated by `;`, each `point=action[:milliseconds][@first][*times][%percent]`.
///
/// # Errors
/// Names the rule and what it may be.
pub fn parse(text: &str) -> Result<Vec<Rule>, String> {
    text.split(';')
        .map(str::trim)
        .filter(|rule| !rule.is_empty())
        .map(rule)
        .collect()
}

/// The point of this name.
///
/// # Errors
/// Lists the names there are.
pub fn point(name: &str) -> Result<Point, String> {
    let found = Point::ALL.into_iter().find(|point| point.name() == name);
    found.ok_or_else(|| {
        let names = Point::ALL.map(Point::name).join(", ");
        format!("`{name}` is no failpoint; there are {names}")
    })
}

fn rule(text: &str) -> Result<Rule, String> {
    let wrong = |what: &str| format!("the failpoint rule `{text}` {what}");
    let (name, rest) = text
        .split_once('=')
        .ok_or_else(|| wrong("lacks an action, as in `hook-read=kill`"))?;
    let (mut from, mut times, mut percent) = (1, u64::MAX, 100);
    let end = rest.find(['@', '*', '%']).unwrap_or(rest.len());
    let (action, mut marks) = rest.split_at(end);
    while let Some(mark) = marks.chars().next() {
        let digits = marks[1..].find(['@', '*', '%']).map_or(marks.len(), |end| end + 1);
        let number = marks[1..digits]
            .parse()
            .map_err(|_| wrong(&format!("needs a number after `{mark}`")))?;
        match mark {
            '@' => from = number,
            '*' => times = number,
            _ => percent = number,
        }
        marks = &marks[digits..];
    }
    let action = match action.split_once(':') {
        None if action == "kill" => Action::Kill,
        None if action == "panic" => Action::Panic,
        None if action == "fail" => Action::Fail,
        None if action == "pause" => Action::Pause,
        Some(("delay", ms)) => Action::Delay(Duration::from_millis(
            ms.parse().map_err(|_| wrong("needs milliseconds after `delay:`"))?,
        )),
        _ => return Err(wrong("may do kill, panic, fail, pause or delay:<milliseconds>")),
    };
    Ok(Rule {
        point: point(name)?,
        action,
        from,
        times,
        percent,
        seen: 0,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn acts(text: &str, draw: u64) -> String {
        let mut rule = parse(text).unwrap().remove(0);
        (0..6).map(|_| if rule.acts(draw) { 'x' } else { '.' }).collect()
    }

    #[test]
    fn rules_count_their_hits() {
        assert_eq!(acts("hook-read=kill", 0), "xxxxxx");
        assert_eq!(acts("hook-read=kill@3", 0), "..xxxx");
        assert_eq!(acts("hook-read=fail@2*3", 0), ".xxx..");
        assert_eq!(acts("hook-read=pause%40", 39), "xxxxxx");
        assert_eq!(acts("hook-read=pause%40", 40), "......");
    }

    #[test]
    fn rules_are_read_or_refused_in_words() {
        let rules = parse(" job-run=delay:50*2; answer-read=panic ;").unwrap();
        assert_eq!(rules[0].action, Action::Delay(Duration::from_millis(50)));
        assert_eq!(rules[1].point, Point::AnswerRead);
        let check = |text: &str, part: &str| {
            let refused = parse(text).unwrap_err();
            assert!(refused.contains(part), "{refused}");
        };
        check("nowhere=kill", "there are hook-read");
        check("hook-read", "lacks an action");
        check("hook-read=explode", "may do kill");
        check("hook-read=delay:x", "needs milliseconds");
        check("hook-read=kill@x", "needs a number after `@`");
    }
}
