"""The other engines that run ONNX files, for the scripts beside this one."""


def onnx_runtime(path, feeds, threads):
    """A function of no arguments that runs the file once; `feeds` are arrays by the names of the inputs."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return lambda: session.run(None, feeds)


def open_vino(path, feeds, threads):
    """As `onnx_runtime`."""
    import openvino

    model = openvino.Core().read_model(path)
    model.reshape({name: value.shape for name, value in feeds.items()})
    settings = {"INFERENCE_NUM_THREADS": threads, "INFERENCE_PRECISION_HINT": "f32", "PERFORMANCE_HINT": "LATENCY"}
    request = openvino.compile_model(model, "CPU", settings).create_infer_request()
    return lambda: request.infer(feeds)


ENGINES = {"ONNX Runtime": onnx_runtime, "OpenVINO": open_vino}


def inputs(path):
    """The inputs of an ONNX file: each has a `name` and a `shape`."""
    import onnxruntime

    return onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"]).get_inputs()
