; No two patterns match one word with different names.

(comment) @comment
(string) @string
[(dims) (integer) (float)] @number
(boolean) @constant.builtin

["use" "const" "model" "input" "defaults" "block" "net" "variant" "rename" "allow"] @keyword
["seq" "residual" "project" "concat" "add" "mul" "grow" "gate" "for" "in" "from" "aux" "output" "as" "x" "if" "else" "then"] @keyword
["and" "or" "not"] @keyword.operator
["|" "->" "=" ".." "==" "!=" "<=" ">=" "<" ">" "+" "-" "*" "/" "//" "%"] @operator
["(" ")" "[" "]" "{" "}"] @punctuation.bracket
["," ":"] @punctuation.delimiter

(block name: (identifier) @type)
(model name: (identifier) @module)
(variant name: (identifier) @module)
(input name: (identifier) @variable.parameter)
(type) @type.builtin
(param name: (identifier) @variable.parameter)
(size name: (identifier) @variable.parameter)
(const name: (identifier) @constant)
(label (label_text) @label)
(alias name: (identifier) @variable)
(path) @variable
(field_name) @property
(named name: (identifier) @property)
(defaults layer: (identifier) @function.builtin)

(call name: (identifier) @function.builtin
  (#any-of? @function.builtin
    "conv" "conv_transpose" "dense" "maxpool" "avgpool" "lp_pool" "adaptive_avgpool" "adaptive_maxpool"
    "global_avgpool" "global_maxpool" "reduce" "bn" "scale" "layer_norm" "instance_norm" "group_norm" "l1_norm"
    "l2_norm" "lrn" "relu" "relu6" "leaky_relu" "thresholded_relu" "elu" "selu" "celu" "gelu" "silu" "hard_swish"
    "mish" "softplus" "softsign" "tanh" "sigmoid" "hard_sigmoid" "clip" "affine" "exp" "sqrt" "abs" "reciprocal"
    "prelu" "softmax" "log_softmax" "dropout" "identity" "flatten" "unflatten" "pad" "crop" "upsample" "resize"
    "permute" "channel_shuffle" "slice" "depth_to_space" "space_to_depth" "subsample"))
(call name: (identifier) @type
  (#not-any-of? @type
    "conv" "conv_transpose" "dense" "maxpool" "avgpool" "lp_pool" "adaptive_avgpool" "adaptive_maxpool"
    "global_avgpool" "global_maxpool" "reduce" "bn" "scale" "layer_norm" "instance_norm" "group_norm" "l1_norm"
    "l2_norm" "lrn" "relu" "relu6" "leaky_relu" "thresholded_relu" "elu" "selu" "celu" "gelu" "silu" "hard_swish"
    "mish" "softplus" "softsign" "tanh" "sigmoid" "hard_sigmoid" "clip" "affine" "exp" "sqrt" "abs" "reciprocal"
    "prelu" "softmax" "log_softmax" "dropout" "identity" "flatten" "unflatten" "pad" "crop" "upsample" "resize"
    "permute" "channel_shuffle" "slice" "depth_to_space" "space_to_depth" "subsample"))
(function name: (identifier) @function.builtin
  (#any-of? @function.builtin
    "ceil" "floor" "round" "round8" "round_to" "min" "max" "abs" "sqrt" "pow" "len" "sum"))
