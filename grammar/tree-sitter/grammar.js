// The language as ../svertka.pest has it, for editors. Blanks and newlines separate words; where a newline ends a line,
// src/scanner.c says.

const WORD = /[A-Za-z_]\w*/;

// Any word may be a label.
const KEYWORDS = [
  "use", "const", "model", "input", "defaults", "block", "net", "variant", "rename", "allow", "seq", "residual", "project",
  "concat", "add", "mul", "grow", "gate", "for", "in", "from", "aux", "output", "as", "x", "if", "else", "then", "and", "or",
  "not", "true", "false",
];

const PREC = { then: 1, choice: 2, or: 3, and: 4, not: 5, compare: 6, range: 7, sum: 8, product: 9, sign: 10, postfix: 11 };

/** One or more, with commas between, and perhaps behind. */
const list = (rule) => seq(rule, repeat(seq(",", rule)), optional(","));

const binary = ($, precedence, operators) =>
  prec.left(precedence, seq(field("left", $._expr), field("operator", operators), field("right", $._expr)));

module.exports = grammar({
  name: "svertka",

  externals: ($) => [$._newline],
  extras: ($) => [/\s/, /\uFEFF/, $.comment],
  word: ($) => $.identifier,
  conflicts: ($) => [[$.named, $._postfix], [$.call, $._postfix], [$.arg, $.function], [$._paren_args, $.function]],

  rules: {
    file: ($) => seq(repeat($._newline), optional(seq($._item, repeat(seq(repeat1($._newline), $._item)), repeat($._newline)))),

    comment: () => token(seq("#", /[^\n]*/)),

    _item: ($) =>
      choice(
        $.use, $.const, $.model, $.input, $.defaults, $.block, $.net, $.variant, $.rename, $.allow,
      ),

    use: ($) => seq("use", $.string),
    const: ($) => seq("const", field("name", $.identifier), "=", field("value", $._expr)),
    model: ($) => seq("model", field("name", $.identifier), optional($.params)),
    input: ($) => seq("input", field("name", $.identifier), ":", field("type", alias($.identifier, $.type)), $.sizes),
    sizes: ($) => seq("[", list($.size), "]"),
    size: ($) => seq(optional(seq(field("name", $.identifier), "=")), $._expr),
    defaults: ($) => seq("defaults", field("layer", $.identifier), $.args),
    block: ($) => seq("block", field("name", $.identifier), optional($.params), $.body),
    net: ($) => seq("net", $.body),
    variant: ($) => seq("variant", field("name", $.identifier), "=", field("model", $.identifier), optional($._paren_args)),
    rename: ($) => seq("rename", $.path, "->", $.path),
    allow: ($) => seq("allow", $.identifier, repeat(seq(",", $.identifier))),

    params: ($) => seq("(", optional(list($.param)), ")"),
    param: ($) => seq(field("name", $.identifier), optional(seq("=", field("default", $._expr)))),

    body: ($) =>
      seq("{", repeat($._newline), optional(seq($.line, repeat(seq(repeat1($._newline), $.line)), repeat($._newline))), "}"),
    line: ($) => seq($.step, repeat(seq("|", $.step))),
    step: ($) => seq(optional("aux"), optional($.label), $._kind, optional($.alias)),
    alias: ($) => seq("as", field("name", $.identifier)),

    label: ($) =>
      seq(
        choice($.label_text, $.interpolation),
        repeat(choice(alias($._more_text, $.label_text), alias($._more_interpolation, $.interpolation))),
        token.immediate(":"),
      ),
    // Longer than a keyword or a name, since the colon or brace that follows is looked for by the rule.
    label_text: ($) => choice($.identifier, $.integer, $._dashed, ...KEYWORDS),
    _dashed: () => /\w+(-\w*)+/,
    _more_text: () => token.immediate(/[\w-]+/),
    interpolation: ($) => seq("{", $._expr, "}"),
    _more_interpolation: ($) => seq(token.immediate("{"), $._expr, "}"),

    _kind: ($) =>
      choice(
        $.seq, $.group, $.residual, $.branches, $.grow, $.gate, $.for, $.if, $.from, $.output, $.const, $.repeat, $.call,
      ),
    seq: ($) => seq("seq", $.body),
    group: ($) => $.body,
    residual: ($) => seq("residual", optional($.condition), $.body, optional($.project)),
    project: ($) => seq("project", optional($.condition), $.body),
    condition: ($) => seq("if", $._expr),
    branches: ($) => seq(choice("concat", "add", "mul"), $.body),
    grow: ($) => seq("grow", $.body),
    gate: ($) => seq("gate", $.body),
    for: ($) => seq("for", choice(field("name", $.identifier), $.row), "in", $._expr, $.body),
    row: ($) => seq("(", list($.identifier), ")"),
    if: ($) => prec.right(seq($.condition, $.body, repeat($.else_if), optional(seq("else", $.body)))),
    else_if: ($) => seq("else", $.condition, $.body),
    from: ($) => seq("from", $.path),
    path: ($) =>
      prec.left(seq(
        choice($.identifier, $.integer, $._dashed, $.interpolation),
        repeat(choice(alias($._more_text, $.path_text), token.immediate("."), alias($._more_interpolation, $.interpolation))),
      )),
    output: ($) => seq("output", field("name", $.identifier)),
    repeat: ($) => seq(field("count", $._postfix), "x", $.call),

    call: ($) => prec.right(seq(field("name", $.identifier), optional(choice($._paren_args, $.args)))),
    _paren_args: ($) => seq(token.immediate("("), optional(list($.arg)), ")"),
    args: ($) => prec.right(seq($.arg, repeat(seq(",", $.arg)))),
    arg: ($) => choice($.named, $._expr),
    named: ($) => prec.dynamic(-1, seq(field("name", $.identifier), optional("="), field("value", $._expr))),

    _expr: ($) =>
      choice(
        $.then, $.choice, $.binary, $.unary, $.range, $._postfix,
      ),
    _postfix: ($) =>
      choice(
        $.index, $.field, $.function, $.dims, $.float, $.integer, $.boolean, $.string, $.identifier,
        alias("in", $.identifier), $.tuple, $.list,
      ),
    then: ($) => prec.left(PREC.then, seq($._expr, "then", $._expr)),
    choice: ($) => prec.left(PREC.choice, seq($._expr, "if", $._expr, "else", $._expr)),
    binary: ($) =>
      choice(
        binary($, PREC.or, "or"),
        binary($, PREC.and, "and"),
        binary($, PREC.compare, choice("==", "!=", "<=", ">=", "<", ">")),
        binary($, PREC.sum, choice("+", "-")),
        binary($, PREC.product, choice("*", "//", "/", "%")),
      ),
    unary: ($) => choice(prec(PREC.not, seq("not", $._expr)), prec(PREC.sign, seq("-", $._expr))),
    range: ($) => prec.left(PREC.range, seq($._expr, "..", $._expr)),
    index: ($) => prec(PREC.postfix, seq($._postfix, token.immediate("["), $._expr, "]")),
    field: ($) => prec(PREC.postfix, seq($._postfix, token.immediate("."), alias(token.immediate(WORD), $.field_name))),
    function: ($) => seq(field("name", $.identifier), token.immediate("("), optional(list($._expr)), ")"),
    tuple: ($) => seq("(", list($._expr), ")"),
    list: ($) => seq("[", optional(list($._expr)), "]"),

    identifier: () => WORD,
    dims: () => /\d+(x\d+)+/,
    float: () => /\d+(\.\d+([eE][+-]?\d+)?|[eE][+-]?\d+)/,
    integer: () => /\d+/,
    boolean: () => choice("true", "false"),
    string: () => /"[^"\n]*"/,
  },
});
