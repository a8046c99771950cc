//! From words to a tree: what binds how tightly, and no meaning yet.
//!
//! By precedence climbing (Pratt): `||` binds least, then `&&`, then comparisons, which do not chain, then `!`, then `.` and `[]`.

use super::{
    DEPTH_MAX, Fault,
    token::{self, Kind, Token},
};

/// Part of an expression, and where it begins, in bytes.
#[derive(Debug)]
pub(super) struct Tree {
    pub(super) at: usize,
    pub(super) node: Node,
}

#[derive(Debug)]
pub(super) enum Node {
    Truth(bool),
    Number(i64),
    Text(String),
    List(Vec<Tree>),
    /// `user.id`: names with points between them.
    Path(Vec<String>),
    /// `user.claims["x"]`
    Index(Box<Tree>, Box<Tree>),
    /// `a.startsWith(b)`
    Call(Box<Tree>, String, Vec<Tree>),
    Not(Box<Tree>),
    /// Two or more.
    And(Vec<Tree>),
    /// Two or more.
    Or(Vec<Tree>),
    /// One of the signs of comparison, or `in`.
    Compare(&'static str, Box<Tree>, Box<Tree>),
}

const COMPARISONS: [&str; 6] = ["==", "!=", "<", "<=", ">", ">="];

/// Reads a whole text.
pub(super) fn parse(text: &str) -> Result<Tree, Fault> {
    let mut parser = Parser {
        tokens: token::read(text)?,
        next: 0,
        depth: 0,
    };
    let tree = parser.either()?;
    match parser.peek() {
        Kind::End => Ok(tree),
        _ => Err(parser.unexpected("an operator or the end")),
    }
}

struct Parser {
    /// The last is [`Kind::End`].
    tokens: Vec<Token>,
    next: usize,
    depth: usize,
}

impl Parser {
    fn token(&self) -> &Token {
        &self.tokens[self.next.min(self.tokens.len() - 1)]
    }

    fn peek(&self) -> &Kind {
        &self.token().kind
    }

    fn at(&self) -> usize {
        self.token().at
    }

    fn take_sign(&mut self, sign: &str) -> bool {
        let is_it = matches!(self.peek(), Kind::Sign(found) if *found == sign);
        self.next += usize::from(is_it);
        is_it
    }

    fn want_sign(&mut self, sign: &str) -> Result<(), Fault> {
        if self.take_sign(sign) {
            return Ok(());
        }
        Err(self.unexpected(&format!("\"{sign}\"")))
    }

    fn unexpected(&self, wanted: &str) -> Fault {
        let found = self.peek().in_words();
        Fault::new(
            self.at(),
            format!("there is {found} where {wanted} must be"),
        )
    }

    /// One level deeper, for as long as `inner` takes.
    fn nested<T>(&mut self, inner: impl FnOnce(&mut Self) -> Result<T, Fault>) -> Result<T, Fault> {
        if self.depth == DEPTH_MAX {
            let what = format!("must not be nested deeper than {DEPTH_MAX}");
            return Err(Fault::new(self.at(), what));
        }
        self.depth += 1;
        let read = inner(self);
        self.depth -= 1;
        read
    }

    fn either(&mut self) -> Result<Tree, Fault> {
        self.joined("||", Self::both, Node::Or)
    }

    fn both(&mut self) -> Result<Tree, Fault> {
        self.joined("&&", Self::comparison, Node::And)
    }

    /// One or more parts with `sign` between them.
    fn joined(
        &mut self,
        sign: &str,
        part: fn(&mut Self) -> Result<Tree, Fault>,
        join: fn(Vec<Tree>) -> Node,
    ) -> Result<Tree, Fault> {
        let first = part(self)?;
        let at = first.at;
        let mut parts = vec![first];
        while self.take_sign(sign) {
            parts.push(part(self)?);
        }
        match parts.pop() {
            Some(only) if parts.is_empty() => Ok(only),
            last => {
                parts.extend(last);
                Ok(Tree {
                    at,
                    node: join(parts),
                })
            }
        }
    }

    fn comparison(&mut self) -> Result<Tree, Fault> {
        let left = self.unary()?;
        let Some(sign) = self.take_comparison() else {
            return Ok(left);
        };
        let right = self.unary()?;
        let at = self.at();
        if self.take_comparison().is_some() {
            let what = "comparisons do not chain: put \"&&\" between them";
            return Err(Fault::new(at, what));
        }
        Ok(Tree {
            at: left.at,
            node: Node::Compare(sign, Box::new(left), Box::new(right)),
        })
    }

    fn take_comparison(&mut self) -> Option<&'static str> {
        let sign = match self.peek() {
            Kind::Sign(sign) if COMPARISONS.contains(sign) => *sign,
            Kind::Name(name) if name == "in" => "in",
            _ => return None,
        };
        self.next += 1;
        Some(sign)
    }

    fn unary(&mut self) -> Result<Tree, Fault> {
        let at = self.at();
        if self.take_sign("!") {
            let inner = self.nested(Self::unary)?;
            let node = Node::Not(Box::new(inner));
            return Ok(Tree { at, node });
        }
        if self.take_sign("-") {
            let Kind::Number(number) = *self.peek() else {
                return Err(self.unexpected("a number"));
            };
            self.next += 1;
            let node = Node::Number(-number);
            return Ok(Tree { at, node });
        }
        self.member()
    }

    /// What stands by itself, with all that is asked of it.
    fn member(&mut self) -> Result<Tree, Fault> {
        let mut tree = self.primary()?;
        loop {
            let at = tree.at;
            if self.take_sign(".") {
                let Kind::Name(name) = self.peek().clone() else {
                    return Err(self.unexpected("a name"));
                };
                self.next += 1;
                if self.take_sign("(") {
                    let given = self.list(")")?;
                    let node = Node::Call(Box::new(tree), name, given);
                    tree = Tree { at, node };
                } else if let Node::Path(path) = &mut tree.node {
                    path.push(name);
                } else {
                    let what = format!("there is no \"{name}\" of it");
                    return Err(Fault::new(at, what));
                }
            } else if self.take_sign("[") {
                let index = self.nested(Self::either)?;
                self.want_sign("]")?;
                let node = Node::Index(Box::new(tree), Box::new(index));
                tree = Tree { at, node };
            } else {
                return Ok(tree);
            }
        }
    }

    fn primary(&mut self) -> Result<Tree, Fault> {
        let at = self.at();
        let node = match self.peek().clone() {
            Kind::Name(word) if word == "in" => return Err(self.unexpected("a value")),
            Kind::Name(word) if word == "true" || word == "false" => Node::Truth(word == "true"),
            Kind::Name(name) => Node::Path(vec![name]),
            Kind::Number(number) => Node::Number(number),
            Kind::Text(text) => Node::Text(text),
            Kind::Sign("(") => {
                self.next += 1;
                let inner = self.nested(Self::either)?;
                self.want_sign(")")?;
                return Ok(inner);
            }
            Kind::Sign("[") => {
                self.next += 1;
                let node = Node::List(self.list("]")?);
                return Ok(Tree { at, node });
            }
            Kind::Sign(_) | Kind::End => return Err(self.unexpected("a value")),
        };
        self.next += 1;
        Ok(Tree { at, node })
    }

    /// Parts with commas between them, up to `end`.
    fn list(&mut self, end: &str) -> Result<Vec<Tree>, Fault> {
        let mut parts = Vec::new();
        if self.take_sign(end) {
            return Ok(parts);
        }
        loop {
            parts.push(self.nested(Self::either)?);
            if self.take_sign(end) {
                return Ok(parts);
            }
            self.want_sign(",")?;
        }
    }
}
