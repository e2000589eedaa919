"""`python cli.py …` from a checkout: the same program as the installed `keras-resnet`."""

from keras_resnet.cli import main

if __name__ == "__main__":
    main()
