//! What a security descriptor says of who may use a file, read from its text: SDDL, as Microsoft's "Security Descriptor String Format" has it.

use std::{error::Error, fmt};

/// The list of a file that its owner alone may use, besides the system (SY) and administrators (BA), who may do everything anyhow: protected
/// (P), so that nothing is inherited.
#[cfg(any(windows, test))]
pub(crate) const PRIVATE_FILE: &str = "D:P(A;;FA;;;SY)(A;;FA;;;BA)(A;;FA;;;OW)";
/// The same of a folder, and of all that is made in it.
#[cfg(any(windows, test))]
pub(crate) const PRIVATE_DIRECTORY: &str = "D:P(A;OICI;FA;;;SY)(A;OICI;FA;;;BA)(A;OICI;FA;;;OW)";

/// Those who may use everything: the system and administrators, by name and by number; and whoever owns or makes the file, who is looked at
/// by his name.
const TRUSTED: [&str; 8] = [
    "SY",
    "S-1-5-18",
    "BA",
    "S-1-5-32-544",
    "OW",
    "S-1-3-4",
    "CO",
    "S-1-3-0",
];

/// Everyone: what a file without a list is open to.
const EVERYONE: &str = "WD";

/// Kinds of entries that let somebody in: plain, for an object, and under a condition. Those that keep somebody out are not counted in
/// anybody's favour.
const LETS_IN: [&str; 3] = ["A", "OA", "XA"];
const KEEPS_OUT: [&str; 3] = ["D", "OD", "XD"];

/// Who owns a file, and who may use it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Descriptor {
    owner: Option<String>,
    let_in: Vec<String>,
}

/// The text is no descriptor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DescriptorError {
    /// What is wrong with it.
    what: &'static str,
}

impl fmt::Display for DescriptorError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the access list cannot be read: {}", self.what)
    }
}

impl Error for DescriptorError {}

fn wrong<T>(what: &'static str) -> Result<T, DescriptorError> {
    Err(DescriptorError { what })
}

impl Descriptor {
    /// Reads `O:owner`, `G:group` and `D:flags(entry)(entry)`, of which any may be missing.
    ///
    /// # Errors
    /// It says something that is not understood: what that lets in is not known.
    pub fn read(text: &str) -> Result<Self, DescriptorError> {
        let (head, list) = match text.split_once("D:") {
            Some((head, list)) => (head, Some(list)),
            None => (text, None),
        };
        let owner = head.split_once("O:").map(|(_, rest)| rest);
        let owner = owner.map(|rest| rest.split("G:").next().unwrap_or(rest).to_owned());
        // Without a list, nobody is kept out.
        let let_in = list.map_or_else(|| Ok(vec![EVERYONE.to_owned()]), entries)?;
        Ok(Self { owner, let_in })
    }

    /// Who may do anything with the file besides `user`, the system and administrators, as the text names them. Its owner is one of them, who
    /// may always let himself in.
    #[must_use]
    pub fn others(&self, user: &str) -> Vec<String> {
        let is_other = |who: &&String| !TRUSTED.contains(&who.as_str()) && *who != user;
        let all = self.owner.iter().chain(&self.let_in);
        let mut others: Vec<_> = all.filter(is_other).cloned().collect();
        others.sort_unstable();
        others.dedup();
        others
    }
}

fn entries(list: &str) -> Result<Vec<String>, DescriptorError> {
    let (flags, mut rest) = list.split_at(list.find('(').unwrap_or(list.len()));
    // A null list, which is none.
    if flags.contains("NO_ACCESS_CONTROL") {
        return Ok(vec![EVERYONE.to_owned()]);
    }
    let mut let_in = Vec::new();
    while !rest.is_empty() {
        let (entry, after) = entry(rest)?;
        rest = after;
        // kind;flags;rights;object;object it comes from;who;condition
        let mut fields = entry.splitn(7, ';');
        let kind = fields.next().unwrap_or_default();
        let who = fields.nth(4).unwrap_or_default();
        if KEEPS_OUT.contains(&kind) {
            continue;
        }
        if !LETS_IN.contains(&kind) || who.is_empty() {
            return wrong("an entry of a kind that is not known");
        }
        let_in.push(who.to_owned());
    }
    Ok(let_in)
}

/// What is in the first pair of parentheses, in which a condition may have pairs of its own, and what follows.
fn entry(text: &str) -> Result<(&str, &str), DescriptorError> {
    let mut depth = 0_usize;
    for (at, char) in text.char_indices() {
        match char {
            // A text in a condition may have parentheses that are none.
            '"' => return wrong("an entry with a text"),
            '(' => depth += 1,
            ')' if depth == 1 => return Ok((&text[1..at], &text[at + 1..])),
            ')' => depth = depth.saturating_sub(1),
            // Of the list that says what is audited, which is not asked for.
            _ if depth == 0 => return wrong("something between entries"),
            _ => {}
        }
    }
    wrong("an entry without an end")
}

#[cfg(test)]
mod tests {
    use super::*;

    const SERVICE: &str = "S-1-5-80-1-2-3-4-5";

    fn others(text: &str) -> Vec<String> {
        Descriptor::read(text).unwrap().others(SERVICE)
    }

    #[test]
    fn what_is_made_here_is_open_to_nobody_else() {
        for list in [PRIVATE_FILE, PRIVATE_DIRECTORY] {
            assert_eq!(others(list), [""; 0], "{list}");
            // As Windows writes it back.
            let written = format!("O:{SERVICE}G:S-1-5-21-7-513{list}");
            assert_eq!(others(&written), [""; 0], "{written}");
        }
    }

    #[test]
    fn own_account_system_and_administrators_are_no_others() {
        for list in [
            "O:BAG:SYD:(A;;FA;;;SY)(A;ID;FA;;;BA)",
            "O:BAG:BAD:P(A;;FA;;;BA)(A;;0x120089;;;S-1-5-80-1-2-3-4-5)",
            "O:S-1-5-80-1-2-3-4-5G:DUD:(A;;FA;;;S-1-5-80-1-2-3-4-5)(A;OICIIO;GA;;;CO)",
            // Nobody is let in.
            "O:BAD:P",
            "O:BAD:P(D;;FA;;;WD)",
        ] {
            assert_eq!(others(list), [""; 0], "{list}");
        }
    }

    #[test]
    fn whoever_else_is_let_in_is_named_once() {
        for (list, named) in [
            // What a folder in C:\ProgramData inherits.
            (
                "O:BAG:SYD:AI(A;OICIID;FA;;;SY)(A;OICIID;FA;;;BA)(A;OICIIOID;GA;;;CO)(A;OICIID;0x1200a9;;;BU)(A;CIID;DCLCRPCR;;;BU)",
                vec!["BU"],
            ),
            ("O:BAD:(A;;FR;;;WD)(D;;FA;;;WD)", vec!["WD"]),
            // An owner who is somebody else may let himself in.
            (
                "O:S-1-5-21-7-1001D:(A;;FA;;;S-1-5-21-7-1002)",
                vec!["S-1-5-21-7-1001", "S-1-5-21-7-1002"],
            ),
            ("O:LAG:DAD:PAI(A;;FA;;;OW)", vec!["LA"]),
            (
                "O:BAD:(XA;;FX;;;AU;(@User.Title==1 && (@User.Division==2)))(OA;;FR;;;BU)",
                vec!["AU", "BU"],
            ),
            // No list, and a null one.
            ("O:BAG:SY", vec!["WD"]),
            ("O:BAG:SYD:NO_ACCESS_CONTROL", vec!["WD"]),
            ("", vec!["WD"]),
        ] {
            assert_eq!(others(list), named, "{list}");
        }
    }

    #[test]
    fn what_is_not_understood_is_no_descriptor() {
        for text in [
            "D:(A;;FA;;;SY",
            "D:(A;;FA;;;SY)S:(AU;SA;FA;;;WD)",
            "D:(ZZ;;FA;;;WD)",
            "D:(A;;FA;;;)",
            "D:(A;;FA)",
            "D:()",
            // Of which the parentheses in texts would hide the second.
            "O:BAD:(XA;;FX;;;BA;(@User.T==\"(\"))(XA;;FA;;;WD;(@User.T==\")\"))",
        ] {
            assert!(Descriptor::read(text).is_err(), "{text}");
        }
    }
}
