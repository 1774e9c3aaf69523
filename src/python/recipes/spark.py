"""Classes of pictures on all machines of a Spark cluster, or on this one: pip install pyspark pandas pyarrow, and Java.

    spark-submit spark.py PICTURES MODEL WEIGHTS OUTPUT [--packed FOLDER]
"""

import argparse

import numpy as np
from pyspark.ml.functions import predict_batch_udf
from pyspark.sql import SparkSession
from pyspark.sql.types import FloatType, StringType, StructField, StructType

import svertka as sv

ROW = StructType([StructField("label", StringType()), StructField("probability", FloatType())])


def worker(model, weights, packed):
    """What each of Spark's Python workers does once: it opens the model, for one thread, that of Spark's task."""
    opened = sv.load(model, weights=weights, packed=packed, threads=1)

    def classify(content):
        x, held = opened.preprocess([bytes(picture) for picture in content], errors="mask")
        best = [classes[0] for classes in opened.classes(opened(x), top=1)]
        label, probability = np.full(len(held), None, object), np.full(len(held), np.nan, np.float32)
        label[held] = [found.name for found in best]
        probability[held] = [found.probability for found in best]
        return {"label": label, "probability": probability}

    return classify


def classify(pictures, model, weights, output, packed=None):
    spark = SparkSession.builder.appName("svertka").getOrCreate()
    found = predict_batch_udf(lambda: worker(model, weights, packed), return_type=ROW, batch_size=32)
    table = spark.read.format("binaryFile").option("pathGlobFilter", "*.{png,jpg,jpeg,PNG,JPG,JPEG}").load(pictures)
    table = table.select("path", found("content").alias("found")).select("path", "found.*")
    table.write.mode("overwrite").parquet(output)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pictures", help="a folder, here or where Spark reads from")
    parser.add_argument("model", help="FILE, FILE:VARIANT, an ONNX file or zoo:NAME; the same path on every machine")
    parser.add_argument("weights", help="the same path on every machine")
    parser.add_argument("output", help="a folder for Parquet files, here or where Spark writes to")
    parser.add_argument("--packed", help="a folder on each machine's own disk, whose packed weights its workers share")
    classify(**vars(parser.parse_args()))
