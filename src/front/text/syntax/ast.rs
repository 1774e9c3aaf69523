//! The syntax tree of a model file. It knows no layer's name: every layer and block is a [`Call`].

use crate::source::Span;

/// A name as written.
#[derive(Clone, Debug, PartialEq)]
pub struct Ident {
    pub text: String,
    pub span: Span,
}

/// One model file.
#[derive(Clone, Debug, PartialEq)]
pub struct File {
    pub items: Vec<Item>,
    pub span: Span,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Item {
    pub kind: ItemKind,
    pub span: Span,
}

#[derive(Clone, Debug, PartialEq)]
pub enum ItemKind {
    /// `use "blocks.cnn"`
    Use { path: String, path_span: Span },
    /// `const stages = [...]`
    Const(Const),
    /// `model resnet(n = [3, 4, 6, 3], classes = 1000)`
    Model { name: Ident, params: Vec<Param> },
    /// `input image: f32[N, 3, H = 224, W = 224]`
    Input { name: Ident, dtype: Ident, dims: Vec<Size> },
    /// `defaults conv half`
    Defaults { layer: Ident, args: Vec<Arg> },
    /// `block Bottleneck(c, s) { ... }`
    Block(Block),
    /// `net { ... }`
    Net(Body),
    /// `variant resnet50 = resnet([3, 4, 6, 3])`
    Variant { name: Ident, model: Ident, args: Vec<Arg> },
    /// `rename norm1 -> norm.1`: a weight whose name holds the components on the left may stand in the weight
    /// file under the components on the right. Both are dotted paths.
    Rename { from: Ident, to: Ident },
    /// `allow even_kernel, small_field`: names of warnings that are not to be given.
    Allow(Vec<Ident>),
}

#[derive(Clone, Debug, PartialEq)]
pub struct Const {
    pub name: Ident,
    pub value: Expr,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Block {
    pub name: Ident,
    pub params: Vec<Param>,
    pub body: Body,
}

/// A parameter of a model or block, with its default.
#[derive(Clone, Debug, PartialEq)]
pub struct Param {
    pub name: Ident,
    pub default: Option<Expr>,
}

/// A size of an input: `224`, or `H = 224`, a free one with its default.
#[derive(Clone, Debug, PartialEq)]
pub struct Size {
    pub name: Option<Ident>,
    pub value: Expr,
}

/// `{ ... }`: lines. In a sequence the lines are joined as by `|`; in `concat`, `add` and `mul` each line is a branch.
#[derive(Clone, Debug, PartialEq)]
pub struct Body {
    pub lines: Vec<Line>,
    /// With the braces.
    pub span: Span,
}

/// Steps joined by `|`. Never empty.
#[derive(Clone, Debug, PartialEq)]
pub struct Line {
    pub steps: Vec<Step>,
    pub span: Span,
}

/// `label: kind as alias`
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    pub label: Option<Label>,
    pub kind: StepKind,
    /// `as skip1`
    pub alias: Option<Ident>,
    pub span: Span,
}

impl Step {
    /// The bodies in it; those of an `aux` branch are its inner step's.
    pub fn bodies(&self) -> Vec<&Body> {
        match &self.kind {
            StepKind::Seq(body)
            | StepKind::Group(body)
            | StepKind::Branches(_, body)
            | StepKind::Grow(body)
            | StepKind::Gate(body)
            | StepKind::For { body, .. } => vec![body],
            StepKind::Residual { body, project, .. } => {
                [body].into_iter().chain(project.as_ref().map(|project| &project.body)).collect()
            }
            StepKind::If { then, otherwise, .. } => [then].into_iter().chain(otherwise).collect(),
            _ => Vec::new(),
        }
    }
}

/// `denselayer{i}`: text and interpolated expressions. In a path, `backbone.layer{i}`, the text may hold dots.
#[derive(Clone, Debug, PartialEq)]
pub struct Label {
    pub parts: Vec<LabelPart>,
    pub span: Span,
}

#[derive(Clone, Debug, PartialEq)]
pub enum LabelPart {
    Text(String),
    Expr(Expr),
}

#[derive(Clone, Debug, PartialEq)]
pub enum StepKind {
    /// `conv 3x3, 64` or `Bottleneck(64, 1)`
    Call(Call),
    /// `3 x Bottleneck(64, 2 then 1)`
    Repeat { count: Expr, call: Call },
    /// `seq { ... }`: numbers its children
    Seq(Body),
    /// `{ ... }`: only groups
    Group(Body),
    /// `residual if cond { ... } project if cond { ... }`
    Residual { cond: Option<Expr>, body: Body, project: Option<Project> },
    /// `concat { ... }`, `add { ... }`, `mul { ... }`: one branch a line
    Branches(Join, Body),
    /// `grow { ... }`: x ++ f(x)
    Grow(Body),
    /// `gate { ... }`: x * g(x)
    Gate(Body),
    /// `for (k, c) in table { ... }`; one name without parentheses, or several that take a row apart
    For { names: Vec<Ident>, iter: Expr, body: Body },
    /// `if cond { ... } else { ... }`; `else if` is an else body with one `if` step
    If { cond: Expr, then: Body, otherwise: Option<Body> },
    /// `from skip1`, `from backbone.layer{i}`: the value that the path leads to, in place of the flowing one
    From(Label),
    /// `aux aux1: Head(...)`: a side output
    Aux(Box<Step>),
    /// `output features`: the flowing value is also an output of the model
    Output(Ident),
    /// `const mid = 4 * c`, local to the body
    Const(Const),
}

/// What becomes of the values of branches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Join {
    Concat,
    Add,
    Mul,
}

impl Join {
    pub const ALL: [Join; 3] = [Join::Concat, Join::Add, Join::Mul];

    pub fn keyword(self) -> &'static str {
        match self {
            Join::Concat => "concat",
            Join::Add => "add",
            Join::Mul => "mul",
        }
    }
}

/// The second path of a residual. Without a condition it is built where the main path changes the shape; otherwise the
/// shortcut is the value itself.
#[derive(Clone, Debug, PartialEq)]
pub struct Project {
    pub cond: Option<Expr>,
    pub body: Body,
}

/// A layer or block with its arguments. Which of the two it is, the builder decides.
#[derive(Clone, Debug, PartialEq)]
pub struct Call {
    pub name: Ident,
    pub args: Vec<Arg>,
    /// Whether the arguments stood in parentheses.
    pub parens: bool,
    pub span: Span,
}

/// `64`, `stride 2`, `act = none`, or a bare word such as `bias` (an [`ExprKind::Name`], told apart by the builder).
#[derive(Clone, Debug, PartialEq)]
pub struct Arg {
    pub name: Option<Ident>,
    pub value: Expr,
    pub span: Span,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Expr {
    pub kind: ExprKind,
    pub span: Span,
}

#[derive(Clone, Debug, PartialEq)]
pub enum ExprKind {
    Int(i64),
    Float(f64),
    Bool(bool),
    Str(String),
    /// `3x3`, `1x7`: at least two sizes
    Dims(Vec<i64>),
    /// A variable or a word; also `in`, the input of the enclosing block
    Name(String),
    /// `in.c`
    Field(Box<Expr>, Ident),
    /// `n[0]`
    Index(Box<Expr>, Box<Expr>),
    /// `ceil(w * c)`
    Call(Ident, Vec<Expr>),
    /// `[1, 2]` or `(0, 1)`
    List(Vec<Expr>),
    Unary(UnaryOp, Box<Expr>),
    Binary(BinaryOp, Box<Expr>, Box<Expr>),
    /// `a if c else b`
    Cond {
        cond: Box<Expr>,
        then: Box<Expr>,
        otherwise: Box<Expr>,
    },
    /// `2 then 1`: in a repeat the first copy takes the first value, the last value serves all the rest
    Then(Vec<Expr>),
    /// `1..n`, both ends included
    Range(Box<Expr>, Box<Expr>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnaryOp {
    Neg,
    Not,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BinaryOp {
    Add,
    Sub,
    Mul,
    /// An integer where it divides evenly, else a float
    Div,
    /// Rounds down
    FloorDiv,
    Rem,
    Eq,
    Ne,
    Lt,
    Le,
    Gt,
    Ge,
    And,
    Or,
}
