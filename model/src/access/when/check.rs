//! From a tree to something that always has a value: names become attributes, and every part has its type.

use super::{
    Fault,
    parse::{Node, Tree},
};
use crate::name::LocationId;

/// Something that holds or not.
#[derive(Debug, Clone)]
pub(super) enum Truth {
    Literal(bool),
    DeviceCertificate,
    Not(Box<Self>),
    /// All of these.
    And(Vec<Self>),
    /// Any of these.
    Or(Vec<Self>),
    Same(Box<Self>, Box<Self>),
    Numbers(Order, Number, Number),
    Texts(Order, Text, Text),
    /// A string in strings.
    Among(Text, Texts),
    /// A location that holds the address.
    In(LocationId),
    /// A number in numbers.
    AmongNumbers(Number, Vec<Number>),
    Part(Part, Text, Text),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    Equal,
    Unequal,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

/// Where one string is in another.
#[derive(Debug, Clone, Copy)]
pub(super) enum Part {
    Start,
    End,
    Anywhere,
}

#[derive(Debug, Clone)]
pub(super) enum Number {
    Literal(i64),
    Attribute(Attribute),
}

#[derive(Debug, Clone)]
pub(super) enum Text {
    Literal(String),
    Attribute(Attribute),
}

#[derive(Debug, Clone)]
pub(super) enum Texts {
    These(Vec<Text>),
    Attribute(Attribute),
    Claim(String),
}

/// What is known of every request, by its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Attribute {
    UserId,
    UserProvider,
    UserGroups,
    AppId,
    Method,
    Path,
    Host,
    Country,
    Locations,
    Platform,
    Client,
    Age,
    Methods,
    Class,
    Device,
    Weekday,
    Hour,
    Minute,
}

#[derive(Debug, Clone, Copy)]
enum Type {
    Number,
    Text,
    Texts,
}

/// Every name that is known.
const ATTRIBUTES: [(&str, Attribute, Type); 17] = [
    ("user.id", Attribute::UserId, Type::Text),
    ("user.provider", Attribute::UserProvider, Type::Text),
    ("user.groups", Attribute::UserGroups, Type::Texts),
    ("app.id", Attribute::AppId, Type::Text),
    ("request.method", Attribute::Method, Type::Text),
    ("request.path", Attribute::Path, Type::Text),
    ("request.host", Attribute::Host, Type::Text),
    ("client.country", Attribute::Country, Type::Text),
    ("client.locations", Attribute::Locations, Type::Texts),
    ("client.platform", Attribute::Platform, Type::Text),
    ("client.kind", Attribute::Client, Type::Text),
    ("auth.age", Attribute::Age, Type::Number),
    ("auth.amr", Attribute::Methods, Type::Texts),
    ("auth.acr", Attribute::Class, Type::Text),
    ("time.weekday", Attribute::Weekday, Type::Number),
    ("time.hour", Attribute::Hour, Type::Number),
    ("time.minute", Attribute::Minute, Type::Number),
];
const DEVICE_CERTIFICATE: &str = "device.certificate";
const CLAIMS: &str = "user.claims";

impl Attribute {
    pub(super) fn is_timed(self) -> bool {
        matches!(self, Self::Age | Self::Weekday | Self::Hour | Self::Minute)
    }

    pub(super) fn is_path(self) -> bool {
        self == Self::Path
    }

    pub(super) fn needs_country(self, location_does: bool) -> bool {
        self == Self::Country || (self == Self::Locations && location_does)
    }
}

/// Any part, with its type.
enum Value {
    Truth(Truth),
    Number(Number),
    Text(Text),
    Texts(Texts),
    Numbers(Vec<Number>),
    /// `[]` fits any list.
    EmptyList,
}

impl Value {
    fn in_words(&self) -> &'static str {
        match self {
            Self::Truth(_) => "true or false",
            Self::Number(_) => "a number",
            Self::Text(_) => "a string",
            Self::Texts(_) => "a list of strings",
            Self::Numbers(_) => "a list of numbers",
            Self::EmptyList => "a list",
        }
    }
}

/// Checks a whole expression.
pub(super) fn check(tree: &Tree) -> Result<Truth, Vec<Fault>> {
    let mut checker = Checker { faults: Vec::new() };
    let root = checker.truth(tree);
    match root {
        Some(root) if checker.faults.is_empty() => Ok(root),
        Some(_) | None => Err(checker.faults),
    }
}

/// Collects faults; a part is `None` where one is told.
struct Checker {
    faults: Vec<Fault>,
}

impl Checker {
    fn fault<T>(&mut self, at: usize, what: impl Into<String>) -> Option<T> {
        self.faults.push(Fault::new(at, what));
        None
    }

    fn truth(&mut self, tree: &Tree) -> Option<Truth> {
        match self.value(tree)? {
            Value::Truth(truth) => Some(truth),
            other => {
                let what = format!("must be true or false, and is {}", other.in_words());
                self.fault(tree.at, what)
            }
        }
    }

    fn text(&mut self, tree: &Tree) -> Option<Text> {
        match self.value(tree)? {
            Value::Text(text) => Some(text),
            other => {
                let what = format!("must be a string, and is {}", other.in_words());
                self.fault(tree.at, what)
            }
        }
    }

    /// All parts are looked at, so that every fault is told.
    fn truths(&mut self, parts: &[Tree]) -> Option<Vec<Truth>> {
        let parts: Vec<_> = parts.iter().map(|part| self.truth(part)).collect();
        parts.into_iter().collect()
    }

    fn value(&mut self, tree: &Tree) -> Option<Value> {
        match &tree.node {
            Node::Truth(truth) => Some(Value::Truth(Truth::Literal(*truth))),
            Node::Number(number) => Some(Value::Number(Number::Literal(*number))),
            Node::Text(text) => Some(Value::Text(Text::Literal(text.clone()))),
            Node::List(parts) => self.list(parts),
            Node::Path(path) => self.attribute(tree.at, &path.join(".")),
            Node::Index(of, index) => self.claim(of, index),
            Node::Call(of, name, given) => self.call(of, name, given),
            Node::Not(inner) => {
                let inner = self.truth(inner)?;
                Some(Value::Truth(Truth::Not(Box::new(inner))))
            }
            Node::And(parts) => Some(Value::Truth(Truth::And(self.truths(parts)?))),
            Node::Or(parts) => Some(Value::Truth(Truth::Or(self.truths(parts)?))),
            Node::Compare("in", left, right) => self.among(left, right),
            Node::Compare(sign, left, right) => self.compare(sign, left, right),
        }
    }

    fn attribute(&mut self, at: usize, name: &str) -> Option<Value> {
        if name == DEVICE_CERTIFICATE {
            return Some(Value::Truth(Truth::DeviceCertificate));
        }
        let known = ATTRIBUTES.iter().find(|(known, ..)| *known == name);
        match known {
            Some((_, attribute, Type::Number)) => {
                Some(Value::Number(Number::Attribute(*attribute)))
            }
            Some((_, attribute, Type::Text)) => Some(Value::Text(Text::Attribute(*attribute))),
            Some((_, attribute, Type::Texts)) => Some(Value::Texts(Texts::Attribute(*attribute))),
            None if name == CLAIMS => self.fault(at, "user.claims must be followed by [\"name\"]"),
            None => self.fault(at, format!("there is no attribute \"{name}\"")),
        }
    }

    fn claim(&mut self, of: &Tree, index: &Tree) -> Option<Value> {
        let is_claims = matches!(&of.node, Node::Path(path) if path.join(".") == CLAIMS);
        if !is_claims {
            return self.fault(of.at, "only user.claims can be followed by []");
        }
        match &index.node {
            Node::Text(name) => Some(Value::Texts(Texts::Claim(name.clone()))),
            _ => self.fault(index.at, "the name of a claim must be a string"),
        }
    }

    fn call(&mut self, of: &Tree, name: &str, given: &[Tree]) -> Option<Value> {
        let part = match name {
            "startsWith" => Part::Start,
            "endsWith" => Part::End,
            "contains" => Part::Anywhere,
            _ => {
                let what = format!("there is no function \"{name}\"");
                return self.fault(of.at, what);
            }
        };
        let [given] = given else {
            let what = format!("{name} takes one string");
            return self.fault(of.at, what);
        };
        let (whole, given) = (self.text(of), self.text(given));
        Some(Value::Truth(Truth::Part(part, whole?, given?)))
    }

    fn list(&mut self, parts: &[Tree]) -> Option<Value> {
        let Some((first, rest)) = parts.split_first() else {
            return Some(Value::EmptyList);
        };
        match self.value(first)? {
            Value::Text(text) => {
                let mut texts = vec![text];
                for part in rest {
                    texts.push(self.text(part)?);
                }
                Some(Value::Texts(Texts::These(texts)))
            }
            Value::Number(number) => {
                let mut numbers = vec![number];
                for part in rest {
                    let Value::Number(number) = self.value(part)? else {
                        return self.fault(part.at, "must be a number, as those before it");
                    };
                    numbers.push(number);
                }
                Some(Value::Numbers(numbers))
            }
            _ => self.fault(first.at, "lists hold strings, or numbers"),
        }
    }

    fn among(&mut self, left: &Tree, right: &Tree) -> Option<Value> {
        let (one, all) = (self.value(left), self.value(right));
        Some(Value::Truth(match (one?, all?) {
            (Value::Text(one), Value::Texts(Texts::Attribute(Attribute::Locations))) => {
                Truth::In(self.location(left.at, &one)?)
            }
            (Value::Text(one), Value::Texts(all)) => Truth::Among(one, all),
            (Value::Number(one), Value::Numbers(all)) => Truth::AmongNumbers(one, all),
            (Value::Text(_) | Value::Number(_), Value::EmptyList) => Truth::Literal(false),
            (one, all) => {
                let what = format!("{} cannot be in {}", one.in_words(), all.in_words());
                return self.fault(left.at, what);
            }
        }))
    }

    /// Named outright, so that it is known of which locations the expression speaks.
    fn location(&mut self, at: usize, name: &Text) -> Option<LocationId> {
        let Text::Literal(name) = name else {
            return self.fault(at, "in client.locations there can only be a string");
        };
        match name.parse() {
            Ok(id) => Some(id),
            Err(wrong) => self.fault(at, format!("names no location: {wrong}")),
        }
    }

    fn compare(&mut self, sign: &str, left: &Tree, right: &Tree) -> Option<Value> {
        let order = match sign {
            "==" => Order::Equal,
            "!=" => Order::Unequal,
            "<" => Order::Less,
            "<=" => Order::LessOrEqual,
            ">" => Order::Greater,
            _ => Order::GreaterOrEqual,
        };
        let (one, other) = (self.value(left), self.value(right));
        Some(Value::Truth(match (one?, other?) {
            (Value::Number(one), Value::Number(other)) => Truth::Numbers(order, one, other),
            (Value::Text(one), Value::Text(other)) => Truth::Texts(order, one, other),
            (Value::Truth(one), Value::Truth(other)) if order == Order::Equal => {
                Truth::Same(Box::new(one), Box::new(other))
            }
            (Value::Truth(one), Value::Truth(other)) if order == Order::Unequal => {
                Truth::Not(Box::new(Truth::Same(Box::new(one), Box::new(other))))
            }
            (one, other) => {
                let (one, other) = (one.in_words(), other.in_words());
                let what = format!("{one} and {other} cannot be compared by {sign}");
                return self.fault(left.at, what);
            }
        }))
    }
}

impl Truth {
    /// Whether `is` says so of any attribute in it.
    pub(super) fn any_attribute(&self, is: &mut dyn FnMut(Attribute) -> bool) -> bool {
        match self {
            Self::Literal(_) => false,
            Self::DeviceCertificate => is(Attribute::Device),
            Self::In(_) => is(Attribute::Locations),
            Self::Not(inner) => inner.any_attribute(is),
            Self::And(parts) | Self::Or(parts) => parts.iter().any(|part| part.any_attribute(is)),
            Self::Same(one, other) => one.any_attribute(is) || other.any_attribute(is),
            Self::Numbers(_, one, other) => one.any(is) || other.any(is),
            Self::Texts(_, one, other) | Self::Part(_, one, other) => one.any(is) || other.any(is),
            Self::Among(one, all) => one.any(is) || all.any(is),
            Self::AmongNumbers(one, all) => one.any(is) || all.iter().any(|one| one.any(is)),
        }
    }
}

impl Truth {
    /// Whether it speaks of a claim.
    pub(super) fn names_claim(&self, claim: &str) -> bool {
        match self {
            Self::Among(_, all) => matches!(all, Texts::Claim(name) if name == claim),
            Self::Not(inner) => inner.names_claim(claim),
            Self::And(parts) | Self::Or(parts) => parts.iter().any(|part| part.names_claim(claim)),
            Self::Same(one, other) => one.names_claim(claim) || other.names_claim(claim),
            Self::Literal(_)
            | Self::DeviceCertificate
            | Self::In(_)
            | Self::Numbers(..)
            | Self::Texts(..)
            | Self::AmongNumbers(..)
            | Self::Part(..) => false,
        }
    }
}

impl Truth {
    /// Adds the locations that it speaks of.
    pub(super) fn add_locations<'t>(&'t self, to: &mut Vec<&'t LocationId>) {
        match self {
            Self::In(location) => to.push(location),
            Self::Not(inner) => inner.add_locations(to),
            Self::And(parts) | Self::Or(parts) => {
                for part in parts {
                    part.add_locations(to);
                }
            }
            Self::Same(one, other) => {
                one.add_locations(to);
                other.add_locations(to);
            }
            Self::Literal(_)
            | Self::DeviceCertificate
            | Self::Numbers(..)
            | Self::Texts(..)
            | Self::Among(..)
            | Self::AmongNumbers(..)
            | Self::Part(..) => {}
        }
    }
}

impl Number {
    fn any(&self, is: &mut dyn FnMut(Attribute) -> bool) -> bool {
        matches!(self, Self::Attribute(attribute) if is(*attribute))
    }
}

impl Text {
    fn any(&self, is: &mut dyn FnMut(Attribute) -> bool) -> bool {
        matches!(self, Self::Attribute(attribute) if is(*attribute))
    }
}

impl Texts {
    fn any(&self, is: &mut dyn FnMut(Attribute) -> bool) -> bool {
        match self {
            Self::These(texts) => texts.iter().any(|text| text.any(is)),
            Self::Attribute(attribute) => is(*attribute),
            Self::Claim(_) => false,
        }
    }
}
