"""Modules of an exported model as functions of the file, as exporters wrote them that kept modules."""

import onnx
from onnx import helper

DOMAIN = "modules"


def module_of(node):
    """`/layer1/layer1.0` of `/layer1/layer1.0/conv1/Conv`; nothing for nodes that are in no such module."""
    parts = node.name.split("/")[1:-1]
    return "/" + "/".join(parts[:2]) if len(parts) > 2 else None


def groups(nodes):
    """Neighbouring nodes of one module."""
    found = []
    for node in nodes:
        module = module_of(node)
        if found and module and found[-1][0] == module:
            found[-1][1].append(node)
        else:
            found.append((module, [node]))
    return found


def function(nodes, outside):
    """A function of nodes, the operands and results of its call, and its attributes: strides are the call's."""
    made = [name for node in nodes for name in node.output]
    read = list(dict.fromkeys(name for node in nodes for name in node.input if name and name not in made))
    given = [name for name in made if name in outside]
    short = {name: f"v{index}" for index, name in enumerate(read + made)} | {"": ""}
    body, attributes = [], {}
    for node in nodes:
        copy = onnx.NodeProto()
        copy.CopyFrom(node)
        copy.input[:], copy.output[:] = [[short[name] for name in names] for names in (node.input, node.output)]
        for attribute in copy.attribute:
            if attribute.name == "strides":
                name = f"strides{len(attributes)}"
                attributes[name] = list(attribute.ints)
                attribute.ClearField("ints")
                attribute.ref_attr_name = name
        body.append(copy)
    return body, read, given, [short[name] for name in read], [short[name] for name in given], attributes


def folded(model):
    """The same network, each module of the second level a function; equal modules share one."""
    opsets = list(model.opset_import)
    names = {}
    nodes = []
    parts = groups(model.graph.node)
    outputs = [output.name for output in model.graph.output]
    for index, (module, inner) in enumerate(parts):
        if module is None or len(inner) < 2:
            nodes += inner
            continue
        others = (name for other, (_, part) in enumerate(parts) if other != index for node in part for name in node.input)
        body, read, given, inputs, results, attributes = function(inner, {*others, *outputs})
        plain = [onnx.NodeProto.FromString(node.SerializeToString()) for node in body]
        for node in plain:
            node.name = ""
        key = str([plain, inputs, results])
        if key not in names:
            names[key] = f"Module{len(names)}"
            made = helper.make_function(DOMAIN, names[key], inputs, results, body, opsets, list(attributes))
            model.functions.append(made)
        nodes.append(helper.make_node(names[key], read, given, name=module, domain=DOMAIN, **attributes))
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    model.opset_import.append(helper.make_opsetid(DOMAIN, 1))
    return model
