"""Classes of a folder of pictures, on all machines of a Spark cluster (pip install pyspark pandas pyarrow).

    spark-submit spark.py PICTURES MODEL WEIGHTS OUTPUT
"""

import sys

import numpy as np
from pyspark.ml.functions import predict_batch_udf
from pyspark.sql import SparkSession
from pyspark.sql.types import FloatType, StringType, StructField, StructType

import svertka as sv


def worker(model, weights):
    """Runs once in each Python worker."""
    opened = sv.load(model, weights=weights, threads=1)

    def classify(content):
        x, held = opened.preprocess([bytes(picture) for picture in content], errors="mask")
        found = iter(opened.classes(opened(x), top=1))
        best = [next(found)[0] if ok else sv.Class(-1, None, 0.0) for ok in held]
        labels = np.array([str(c.label or c.index) for c in best])
        return {"label": labels, "probability": np.array([c.probability for c in best], np.float32)}

    return classify


def main(pictures, model, weights, output):
    spark = SparkSession.builder.appName("svertka").getOrCreate()
    kind = StructType([StructField("label", StringType()), StructField("probability", FloatType())])
    classify = predict_batch_udf(lambda: worker(model, weights), return_type=kind, batch_size=32)
    table = spark.read.format("binaryFile").load(pictures)
    found = table.select("path", classify("content").alias("found"))
    found.select("path", "found.label", "found.probability").write.mode("overwrite").parquet(output)


if __name__ == "__main__":
    main(*sys.argv[1:])
