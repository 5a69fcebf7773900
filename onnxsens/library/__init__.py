"""What `import onnxsens` gives beside the plain stages: the words of the command line as keywords, and what comes back
as things that can be asked, drawn and carried on with.

Nothing here measures: arguments become the records that the stages take, and the files of a run become arrays.
"""
